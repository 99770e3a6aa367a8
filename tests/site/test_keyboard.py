"""The site without a mouse, and without JavaScript."""

from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect

from rulebook.parse import read_rules
from tests.harness import ROOT
from tests.site.browser import PHONE, WIDE, reading
from tests.site.documents import Site

pytestmark = pytest.mark.slow

RULE = read_rules(ROOT)[0]["asyncio/taskgroup"]
STOPS = 400  # no page has as many
# A control of no size of its own shows its focus on its label.
FOCUS = """() => {
  const focused = document.activeElement;
  if (focused === document.body) return null;
  document.getAnimations().forEach(each => each.finish());
  const drawn = each => {
    const box = each.getBoundingClientRect(), style = getComputedStyle(each);
    const seen = style.outlineStyle !== "none" || style.boxShadow !== "none";
    return seen && box.width > 0 && box.height > 0 && box.left >= 0 && box.right <= innerWidth
      && style.visibility === "visible" && Number(style.opacity) > 0;
  };
  const labels = [...(focused.labels || [])];
  const texts = [focused, ...labels].map(each => each.textContent.trim()).filter(Boolean);
  const name = focused.getAttribute("aria-label") || (texts[0] || "").slice(0, 40);
  const shown = [focused, ...labels].some(drawn);
  return {what: `${focused.tagName}#${focused.id}.${focused.className} ${name}`, name, shown};
}"""


@dataclass(frozen=True)
class Stop:
    """Where the Tab key stops: what has the focus, and whether one can see that it has."""

    what: str
    name: str
    shown: bool


def stops(page: Page) -> list[Stop]:
    """Press Tab until the focus leaves the page."""
    found: list[Stop] = []
    for _ in range(STOPS):
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUS)
        if stop is None:
            return found
        found.append(Stop(**stop))
    raise AssertionError("the focus never leaves the page")


@pytest.mark.parametrize("width", [WIDE, PHONE])
@pytest.mark.parametrize("path", ["", f"rules/{RULE.id}/"])
def test_the_focus_is_always_seen(browser: Browser, site: Site, path: str, width: int) -> None:
    """At each stop of the Tab key something on the screen shows it."""
    with reading(browser, site.address, width=width) as tab:
        found = stops(tab.open(path))

    assert [stop.what for stop in found if not stop.shown] == []


def test_tab_reaches_what_a_reader_needs(browser: Browser, site: Site) -> None:
    """First the skip link, then the search and the navigation."""
    with reading(browser, site.address) as tab:
        names = [stop.name for stop in stops(tab.open())]

    assert names[0] == "Skip to content"
    assert {"Search", "Errors", "Tools"} - set(names) == set()


def test_the_skip_link_skips(browser: Browser, site: Site) -> None:
    """After it the next stop lies in the text."""
    with reading(browser, site.address) as tab:
        page = tab.open()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")

        expect(page.locator("main article :focus")).to_have_count(1)


def test_the_search_closes_on_escape(browser: Browser, site: Site) -> None:
    """Who opened the results by a key gets rid of them by a key."""
    with reading(browser, site.address) as tab:
        page = tab.open()
        page.keyboard.press("/")
        page.keyboard.type("session")
        expect(page.get_by_role("option").first).to_be_visible()
        page.keyboard.press("Escape")

        expect(page.get_by_role("option")).to_have_count(0)


@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_a_rule_reads_without_javascript(browser: Browser, site: Site, width: int) -> None:
    """The title, each half, its evidence and each trap are there all the same."""
    with reading(browser, site.address, width=width, javascript=False) as tab:
        page = tab.open(f"rules/{RULE.id}/")
        places = [page.locator(f"#{each.slug}") for each in (*RULE.pairs, *RULE.claims)]
        parts = [page.get_by_role("heading", level=1), *places]
        parts += [*page.locator(".half pre").all(), *page.locator(".evidence").all()]

        assert [str(part) for part in parts if not part.is_visible()] == []
