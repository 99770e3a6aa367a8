"""`rulebook new`: a page and a test that are red until somebody writes them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rulebook.check import check
from rulebook.cli import main
from rulebook.parse import read_page
from tests.harness import ROOT
from tests.mutants import copy_book


@pytest.fixture
def book(tmp_path: Path) -> Path:
    root = copy_book(tmp_path / "book")
    main(["build", "--root", str(root)])
    return root


def test_the_new_page_is_red_for_what_is_unwritten(book: Path) -> None:
    """Its halves are the same, and its trap has no test."""
    main(["new", "demo/fresh-start", "--root", str(book)])
    mine = " ".join(f.message for f in check(book).findings if f.path.stem == "fresh-start")

    for complaint in ("the same program", "has no test"):
        assert complaint in mine


@pytest.mark.slow
def test_the_new_test_is_red_because_the_symptom_does_not_show(tmp_path: Path) -> None:
    """Run as it is, the new proof fails on the incorrect half and passes on no other ground."""
    root = tmp_path / "clone"
    shutil.copytree(ROOT / "tests" / "harness", root / "tests" / "harness")
    (root / "tests" / "rules").mkdir()
    for name in ("tests/__init__.py", "tests/rules/__init__.py", "conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    main(["new", "asyncio/fresh-start", "--root", str(root)])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/rules"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)

    assert "the incorrect half does not show the symptom" in done.stdout


def test_the_new_rule_has_two_files_of_one_name(book: Path) -> None:
    """Page and test find each other."""
    main(["new", "demo/fresh-start", "--root", str(book)])
    page, _ = read_page(book / "rules/demo/fresh-start.md", book)

    assert page
    assert (book / "tests/rules/demo/test_fresh_start.py").exists()


@pytest.mark.parametrize("name", ["fresh", "Demo/fresh", "demo/fresh start", "demo/../x", "a/b/c"])
def test_a_bad_name_is_misuse(book: Path, name: str) -> None:
    """Nothing is written for a name that could not be linked."""
    before = sorted(book.rglob("*"))

    assert main(["new", name, "--root", str(book)]) == 2
    assert sorted(book.rglob("*")) == before


def test_an_existing_rule_is_not_overwritten(book: Path) -> None:
    """Starting a rule twice harms nothing."""
    before = (book / "rules/demo/retries.md").read_text(encoding="utf-8")

    assert main(["new", "demo/retries", "--root", str(book)]) == 2
    assert (book / "rules/demo/retries.md").read_text(encoding="utf-8") == before
