"""Dark and light: the system's choice first, then the reader's."""

import pytest
from playwright.sync_api import Browser, Page

from tests.site.browser import reading
from tests.site.documents import Site

pytestmark = pytest.mark.slow

OTHER = {"light": "dark", "dark": "light"}
BRIGHTNESS = """() => {
  const [red, green, blue] = getComputedStyle(document.body).backgroundColor.match(/\\d+/g);
  return (Number(red) + Number(green) + Number(blue)) / 3;
}"""


def shown(page: Page) -> str:
    """Which scheme the eye sees."""
    return "dark" if page.evaluate(BRIGHTNESS) < 128 else "light"


@pytest.mark.parametrize("scheme", OTHER)
def test_the_system_decides_at_first(browser: Browser, site: Site, scheme: str) -> None:
    """Who reads in the dark is not dazzled by the first page."""
    with reading(browser, site.address, scheme=scheme) as tab:
        assert shown(tab.open()) == scheme


@pytest.mark.parametrize("scheme", OTHER)
def test_the_toggle_is_remembered(browser: Browser, site: Site, scheme: str) -> None:
    """A choice against the system holds on the next page."""
    with reading(browser, site.address, scheme=scheme) as tab:
        tab.open().get_by_role("button", name=f"{OTHER[scheme]} colours").click()

        assert shown(tab.open("tools/")) == OTHER[scheme]


def test_the_system_may_change_its_mind(browser: Browser, site: Site) -> None:
    """At sunset an open page follows."""
    with reading(browser, site.address, scheme="light") as tab:
        page = tab.open()
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(f"({BRIGHTNESS})() < 128")

        assert shown(page) == "dark"
