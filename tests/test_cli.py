"""The command line: data on stdout, messages on stderr, 0 / 1 / 2."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from rulebook.cli import main
from tests.harness import ROOT
from tests.mutants import copy_book

COMMANDS = ["check", "build", "new", "ship", "site", "install"]


def rulebook(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rulebook", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("arguments", [[], *[[command] for command in COMMANDS]])
def test_help_is_the_manual(arguments: list[str]) -> None:
    """Each command explains itself and exits with 0."""
    done = rulebook(*arguments, "--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert "usage:" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["shelve"], ["install"], ["check", "--fast"]])
def test_misuse_is_2(arguments: list[str]) -> None:
    """A wrong call says so on stderr and prints no data."""
    done = rulebook(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert "usage:" in done.stderr


def test_an_old_python_is_told_which_it_needs() -> None:
    """One line, before anything is imported that an old Python cannot read."""
    start = ROOT / "src" / "rulebook"
    code = (
        "import runpy, sys; sys.version_info = (3, 8, 20, 'final', 0);"
        f" runpy.run_path({str(start)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    said = "rulebook: this is Python 3.8; run it with Python 3.11 or newer\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_an_old_python_can_read_what_tells_it() -> None:
    """The file that is run has no syntax newer than Python 3.8."""
    text = (ROOT / "src" / "rulebook" / "__main__.py").read_text(encoding="utf-8")

    assert ast.parse(text, feature_version=(3, 8)).body


def test_check_of_nothing_is_found_not_raised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder without a book gets findings with file and line, not a traceback."""
    assert main(["check", "--root", str(tmp_path)]) == 1

    assert f"{tmp_path}/SKILL.md:1: cannot be read" in capsys.readouterr().out


def test_check_speaks_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A program reads path, line, message and hint of each finding."""
    assert main(["check", "--json", "--root", str(tmp_path)]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]

    assert all(set(each) == {"path", "line", "message", "hint"} for each in findings)


def test_build_twice_writes_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is fresh is not written again."""
    copy_book(tmp_path / "book")
    main(["build", "--root", str(tmp_path / "book")])
    assert "SKILL.md" in capsys.readouterr().out

    assert main(["build", "--root", str(tmp_path / "book")]) == 0
    assert capsys.readouterr().out == ""
