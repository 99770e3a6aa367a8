"""Installed beside a user's code, the skill changes nothing their own tools say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rulebook.cli import main

MODULE = '''\
"""A project."""


def double(number: int) -> int:
    """Twice."""
    return number * 2
'''
TEST = '''\
"""Its test."""

from app import double


def test_double() -> None:
    """Two."""
    assert double(1) == 2
'''
TOOLS = {
    "ruff check": ["ruff", "check", "--no-cache", "."],
    "ruff check of everything": ["ruff", "check", "--no-cache", "--select", "ALL", "."],
    "ruff format": ["ruff", "format", "--no-cache", "--check", "."],
    "ruff format at 79": ["ruff", "format", "--no-cache", "--check", "--line-length", "79", "."],
    "mypy": ["mypy", "--strict", "--cache-dir=/dev/null", "."],
    "pytest": ["pytest", "-q", "-p", "no:cacheprovider", "--co"],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("project")
    (path / "app.py").write_text(MODULE)
    (path / "test_app.py").write_text(TEST)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("command", TOOLS.values(), ids=TOOLS)
def test_a_tool_says_the_same_as_before(project: Path, command: list[str]) -> None:
    """Same words, same exit status, with the skill in both agents' folders."""
    before = said(command, project)
    assert main(["install", str(project)]) == 0
    after = said(command, project)
    assert main(["install", str(project), "--uninstall"]) == 0

    assert after == before


def test_without_our_ruff_toml_ruff_would_complain(project: Path) -> None:
    """The file is there for a reason: without it, ruff walks into the skill."""
    command = TOOLS["ruff format at 79"]
    before = said(command, project)
    main(["install", str(project)])
    for path in project.rglob("ruff.toml"):
        path.unlink()
    after = said(command, project)
    main(["install", str(project), "--uninstall", "--force"])

    assert after != before


def said(command: list[str], project: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=project, capture_output=True, text=True
    )
    return done.returncode, re.sub(r"in \d+\.\d+s", "", done.stdout + done.stderr)
