"""Promises about all pages, whatever their number."""

import re
from pathlib import Path

import pytest

from rulebook.check import Report, check
from tests.harness import ROOT, pages


@pytest.fixture(scope="module")
def report() -> Report:
    return check(ROOT)


def test_nothing_is_wrong(report: Report) -> None:
    """Every pair is proven, every claim confirmed, every error text produced, nothing is stale."""
    complaints = [
        f"{each.path.relative_to(ROOT)}:{each.line}: {each.message}; {each.hint}"
        for each in report.findings
    ]

    assert complaints == []


@pytest.mark.parametrize("kind", ["blocks", "pairs", "traps", "error texts", "checks"])
def test_everything_there_is_was_counted(report: Report, kind: str) -> None:
    """The counts are full, and there is something to count."""
    ((done, total),) = [counts for name, counts in report.counts.items() if name.startswith(kind)]

    assert 0 < total == done


FENCE = re.compile(r"```\s*py")


def test_no_fence_escapes_the_collector(report: Report) -> None:
    """A plain search for Python fences finds as many as the parser did."""
    paths = (ROOT / "rules").rglob("*.md")
    fences = [FENCE.findall(path.read_text(encoding="utf-8")) for path in paths]

    assert report.counts["blocks loaded and typed"][1] == sum(map(len, fences))


@pytest.mark.parametrize("name", ["SKILL.md", "README.md"])
def test_code_outside_rules_is_copied_from_them(name: str) -> None:
    """Each Python fence there stands between markers that `rulebook build` fills."""
    text = (ROOT / name).read_text(encoding="utf-8")
    copied = re.findall(r"<!-- half [^>]+:start -->\n```python", text)

    assert len(FENCE.findall(text)) == len(copied) > 0


def test_each_block_is_an_item(pytester_items: list[str]) -> None:
    """pytest collects each block of each rule, under the place it stands at."""
    places = {half.place for page in pages().values() for half in page.halves}

    assert {item for item in pytester_items if item.startswith("rules/")} == {
        place for place in places if place.startswith("rules/")
    }


@pytest.fixture
def pytester_items(request: pytest.FixtureRequest) -> list[str]:
    from tests.harness.blocks import PageFile

    session = request.session
    files = [PageFile.from_parent(session, path=page.path) for page in pages().values()]
    return [item.nodeid.replace(".md::", ".md:") for file in files for item in file.collect()]


@pytest.mark.parametrize("rule", sorted(set(pages()) - {"SKILL"}))
def test_a_rule_and_its_test_share_a_name(rule: str) -> None:
    """Whoever reads a rule finds its test without a map."""
    category, name = rule.split("/")

    assert Path(ROOT, "tests", "rules", category, f"test_{name.replace('-', '_')}.py").exists()
