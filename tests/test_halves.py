"""Pairs as review.py sees them: which are told apart in code, and by which finding."""

import re
from pathlib import Path

import pytest

from rulebook.model import Half, Pair
from tests.harness import ROOT, pages
from tests.harness.cases import reported

ROW = re.compile(r"^\| (\S+#\S+) \| (.+) \|$", re.M)
TABLE = {
    pair: set(found.split(", "))
    for pair, found in ROW.findall((ROOT / "tests/checks/pairs.md").read_text(encoding="utf-8"))
}
PAIRS = {
    f"{page.id}#{pair.slug}": pair
    for page in pages().values()
    for pair in page.pairs
    if page.id != "SKILL"
}


def findings(half: Half, folder: Path) -> set[str]:
    found, _ = reported({"app.py": half.block.code}, folder)
    return {trap for _, _, grade, trap, _ in found if grade == "finding"}


@pytest.mark.parametrize(("name", "pair"), PAIRS.items(), ids=PAIRS)
def test_the_incorrect_half_draws_what_the_table_says(
    name: str, pair: Pair, tmp_path: Path
) -> None:
    """No more and no less, so that each reason was looked at by someone."""
    assert findings(pair.incorrect, tmp_path) == TABLE.get(name, set())


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_the_correct_half_draws_no_finding(pair: Pair, tmp_path: Path) -> None:
    """What the rules teach is what the tool accepts."""
    assert findings(pair.correct, tmp_path) == set()


def test_most_pairs_are_told_apart() -> None:
    """26 of the 40 pairs at least, each by a finding."""
    assert len(TABLE.keys() & PAIRS.keys()) >= 26
