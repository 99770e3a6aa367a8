"""The house itself: in order, true to its word, and easy to see."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.harness import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.splitlines()


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join
)
def test_the_code_is_in_order(command: list[str]) -> None:
    """Linter, formatter and type checker have nothing to say."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_files_are_small() -> None:
    """No source or test file of 300 lines."""
    sizes = {
        name: (ROOT / name).read_text("utf-8").count("\n")
        for name in TRACKED
        if name.endswith(".py")
    }

    assert {name: size for name, size in sizes.items() if size >= 300} == {}


def test_ci_runs_the_readmes_test_command() -> None:
    """What CI proves is what the README promises."""
    (command,) = [line for line in README.splitlines() if "requirements-test.txt" in line]

    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

    assert command in [line.strip() for line in run.splitlines()]


def test_the_readme_is_short() -> None:
    """At most 500 words besides code and what is generated."""
    own = re.sub(r"(?s)<!-- .*?:start -->.*?<!-- \w+:end -->|```.*?```", "", README)

    assert len(own.split()) <= 500


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_to_files(name: str) -> None:
    """Relative ones, to what stands here."""
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://)([^)#\s]+)\)", text)

    assert [link for link in links if not (ROOT / link).exists()] == []


def test_no_registry_host_is_committed() -> None:
    """Pins name packages and versions, never where they came from."""
    pins = (ROOT / "requirements-test.txt").read_text(encoding="utf-8")

    assert re.findall(r"://|--index|--hash|@ ", pins) == []
    assert [name for name in TRACKED if Path(name).name == "uv.lock"] == []


def test_every_direct_requirement_is_pinned() -> None:
    """requirements-test.in says what tests need, requirements-test.txt which versions."""
    wanted = re.findall(r"(?m)^([A-Za-z0-9-]+)", (ROOT / "requirements-test.in").read_text("utf-8"))
    pinned = re.findall(
        r"(?m)^([A-Za-z0-9-]+)", (ROOT / "requirements-test.txt").read_text("utf-8")
    )

    assert {name.lower() for name in wanted} <= {name.lower() for name in pinned}


def test_the_changelog_knows_the_version() -> None:
    """A released version has its section; before the first release there is Unreleased."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert f"## [{version}]" in changelog or "## [Unreleased]" in changelog


def test_nothing_is_left_over() -> None:
    """No note to self in what is committed."""
    marks = re.compile(r"\b(TODO|FIXME|XXX)\b")
    texts = {
        name: (ROOT / name).read_text("utf-8", "replace")
        for name in TRACKED
        if (ROOT / name).is_file()
    }

    assert [
        name for name, text in texts.items() if marks.search(text) and name != "tests/test_house.py"
    ] == []
