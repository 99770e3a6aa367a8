"""scripts/checks: each report stands where a case asks for it, and nowhere else."""

from pathlib import Path

import pytest

from tests.harness import ROOT
from tests.harness.cases import Case, cases, reported, reviewer


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.place)
def test_reports_stand_on_the_lines_that_ask_for_them(case: Case, tmp_path: Path) -> None:
    """Grade, trap and what to write instead, and no report that no line asks for."""
    assert reported(dict(case.files), tmp_path) == (case.expected, [])


@pytest.mark.parametrize("folder", ["examples", "scripts", "src", "tests"])
def test_our_own_code_draws_no_finding(folder: str) -> None:
    """What we ship and what we test with, as the tool reads it."""
    paths = sorted((ROOT / folder).rglob("*.py"))
    files = {path.relative_to(ROOT).as_posix(): path for path in paths}
    result = reviewer().review(files, files, cores=1)

    assert [each for each in result.found if not each.hint] + result.unread == []
