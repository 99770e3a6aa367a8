"""Every page in the browser: quiet, no wider than the screen, usable by everyone."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, expect

from tests.site.browser import PHONE, WIDE, reading
from tests.site.documents import Site
from tests.site.visits import COLOURS, WIDER, Visit, complaints, walk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KINDS = ("", "rules/asyncio/taskgroup/", "errors/", "errors/asyncio/", "tools/", "example/")


SPOIL = """() => {
  const wide = document.createElement("div");
  wide.style.width = "2000px";
  wide.innerHTML = '<img src="https://elsewhere.invalid/x.png">';
  document.querySelector("main").append(wide);
}"""


@pytest.fixture(scope="module")
def visits(browser: Browser, site: Site, axe: str) -> list[Visit]:
    """Each page on each screen; axe sees all in both schemes, and a page of each kind in a hand."""
    pages = [*site.addresses(), site.missing]
    kinds = [f"{site.address}{kind}" for kind in KINDS]
    walks = [
        (WIDE, "light", pages, ()),
        (WIDE, "dark", pages, COLOURS),
        (PHONE, "light", kinds, ()),
        (PHONE, "dark", kinds, COLOURS),
    ]
    return [
        visit
        for width, scheme, asked, rules in walks
        for visit in walk(
            browser,
            site.address,
            pages,
            width=width,
            scheme=scheme,
            axe=axe,
            asked=asked,
            rules=rules,
        )
    ]


def said(visits: list[Visit], what: Callable[[Visit], tuple[str, ...]]) -> list[str]:
    return [
        f"{visit.address} ({visit.width}, {visit.scheme}): {each}"
        for visit in visits
        for each in what(visit)
    ]


def test_every_page_is_quiet(visits: list[Visit]) -> None:
    """No console error, no exception, no failed request, no request to another host."""
    assert said(visits, lambda visit: visit.troubles) == []


def test_no_page_scrolls_sideways(visits: list[Visit]) -> None:
    """Nothing is wider than the screen, on a desk or in a hand."""
    assert said(visits, lambda visit: visit.overflow) == []


def test_axe_finds_nothing(visits: list[Visit]) -> None:
    """Contrast, names, landmarks, headings, focus: axe-core has no complaint."""
    assert said(visits, lambda visit: visit.violations) == []


def test_a_walk_sees_what_is_wrong(browser: Browser, site: Site, axe: str) -> None:
    """The checks above are awake: a spoilt page fails each of them."""
    with reading(browser, site.address, width=PHONE) as tab:
        page = tab.open()
        with page.expect_event("requestfailed"):
            page.evaluate(SPOIL)
        found = bool(tab.troubles), bool(page.evaluate(WIDER)), bool(complaints(page, axe))

    assert found == (True, True, True)


def test_the_missing_page_lacks_nothing(browser: Browser, site: Site) -> None:
    """Whoever follows a dead link gets the site's own page with its styles, at any depth."""
    with reading(browser, site.address) as tab:
        page = tab.open("rules/nothing/like/this/")
        missing = [each.rpartition(" ")[2] for each in tab.troubles if "was answered" in each]

        assert missing == [page.url]


def test_the_missing_page_leads_on(browser: Browser, site: Site) -> None:
    """From there the name of the site leads home."""
    with reading(browser, site.address) as tab:
        page = tab.open("rules/nothing/like/this/")
        page.get_by_role("link", name="python-backend").first.click()

        expect(page).to_have_url(site.address)
