"""A rule's pairs on the screen: beside each other or below, marked, proven."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect

from rulebook.model import Page as Rule
from rulebook.parse import read_rules
from tests.harness import ROOT
from tests.site.browser import PHONE, WIDE, reading
from tests.site.documents import Site

pytestmark = pytest.mark.slow

RULES: dict[str, Rule] = read_rules(ROOT)[0]
PAIRS = sum(len(rule.pairs) for rule in RULES.values())
KNOWN = "asyncio/taskgroup", "own-background-tasks"
MEASURE = """() => [...document.querySelectorAll(".pair")].map(pair => {
  const [left, right] = [".incorrect", ".correct"].map(
    half => pair.querySelector(half).getBoundingClientRect());
  const scrolling = [...pair.querySelectorAll("pre, code")].filter(
    each => each.scrollWidth > each.clientWidth + 1);
  return {left: left.toJSON(), right: right.toJSON(), scrolling: scrolling.length};
})"""


@dataclass(frozen=True)
class Layout:
    """Where a pair's halves stand."""

    rule: str
    number: int
    left: dict[str, float]
    right: dict[str, float]
    scrolling: int

    @property
    def beside(self) -> bool:
        return self.left["right"] <= self.right["left"] and self.left["top"] == self.right["top"]

    @property
    def stacked(self) -> bool:
        return self.left["bottom"] <= self.right["top"] and self.left["left"] == self.right["left"]


def layouts(browser: Browser, site: Site, width: int) -> list[Layout]:
    with reading(browser, site.address, width=width) as tab:
        return [
            Layout(rule, number, **measured)
            for rule in RULES
            for number, measured in enumerate(tab.open(f"rules/{rule}/").evaluate(MEASURE))
        ]


@pytest.fixture(scope="module")
def wide(browser: Browser, site: Site) -> list[Layout]:
    """Every pair on a desk."""
    return layouts(browser, site, WIDE)


@pytest.fixture(scope="module")
def narrow(browser: Browser, site: Site) -> list[Layout]:
    """Every pair in a hand."""
    return layouts(browser, site, PHONE)


@pytest.fixture
def known(browser: Browser, site: Site) -> Iterator[Page]:
    """The page of a pair of which the tests know what differs."""
    with reading(browser, site.address) as tab:
        yield tab.open(f"rules/{KNOWN[0]}/")


def test_each_pair_of_each_rule_is_on_its_page(wide: list[Layout]) -> None:
    """What the rule's file holds, its page shows."""
    assert len(wide) == PAIRS


def test_halves_stand_side_by_side_on_a_desk(wide: list[Layout]) -> None:
    """On a wide screen the eye goes from the wrong line to the right one."""
    assert [layout for layout in wide if not layout.beside] == []


def test_halves_stand_one_below_the_other_in_a_hand(narrow: list[Layout]) -> None:
    """On a phone each half has the whole width."""
    assert [layout for layout in narrow if not layout.stacked] == []


@pytest.mark.parametrize("screen", ["wide", "narrow"])
def test_no_half_scrolls_sideways(screen: str, request: pytest.FixtureRequest) -> None:
    """Long lines wrap, so that no part of the code is out of sight."""
    found: list[Layout] = request.getfixturevalue(screen)

    assert [layout for layout in found if layout.scrolling] == []


@pytest.mark.parametrize(
    ("verdict", "differs", "stays"),
    [
        ("incorrect", "    asyncio.create_task(job)", "import asyncio"),
        ("correct", "    tasks.add(task)", "import asyncio"),
    ],
)
def test_the_lines_that_differ_are_marked(
    known: Page, verdict: str, differs: str, stays: str
) -> None:
    """In each half the reader sees which lines the other lacks, by more than a colour."""
    half = known.locator(f"#{KNOWN[1]} ~ .pair").first.locator(f".{verdict}")
    marked = half.locator(".line.differs").all_text_contents()
    others = half.locator(".line:not(.differs)").all_text_contents()

    assert (f"{differs}\n" in marked, f"{stays}\n" in others) == (True, True)


def test_each_half_says_which_it_is(known: Page) -> None:
    """The verdict is a word, so that it needs no colour."""
    words = [
        (half.get_attribute("class") or "", half.locator("figcaption").inner_text())
        for half in known.locator(".half").all()
    ]

    assert words
    assert [word for word in words if not word[1].lower().startswith(word[0].split()[-1])] == []


def test_each_pair_names_the_test_that_showed_it(known: Page, site: Site) -> None:
    """Under a pair stands which test saw it fail, one step from its source."""
    tests = known.locator(".evidence caption a")
    addresses = [each.get_attribute("href") or "" for each in tests.all()]
    wanted = re.compile(rf"{re.escape(site.repository)}/blob/main/tests/rules/asyncio/test_\w+\.py")

    assert len(addresses) == known.locator(".pair").count()
    assert [address for address in addresses if not wanted.match(address)] == []


def test_a_link_to_a_trap_shows_the_trap(browser: Browser, site: Site) -> None:
    """The name that the tools print, put behind the page's address, leads to the sentence."""
    rule = RULES["asyncio/taskgroup"]
    claim = rule.claims[-1]
    with reading(browser, site.address) as tab:
        page = tab.open(f"rules/{rule.id}/#{claim.slug}")

        expect(page.locator(f"#{claim.slug}")).to_be_in_viewport()
