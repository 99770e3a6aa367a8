"""What a reader meets on each page of the site, in one walk for each width and scheme."""

from collections.abc import Collection
from dataclasses import dataclass

from playwright.sync_api import Browser, Page

from tests.site.browser import reading

COLOURS = ("color-contrast", "link-in-text-block")  # axe's rules that depend on the scheme
AXE = """async rules => {
  const only = rules.length ? {runOnly: rules} : {};
  const found = await axe.run(document, {resultTypes: ["violations"], ...only});
  return found.violations.flatMap(({id, nodes}) =>
    nodes.map(node => `${id}: ${node.target.join(" ")}: ${node.failureSummary}`));
}"""
# A box that scrolls or clips what is in it may hold more than the screen; the page may not.
WIDER = """() => {
  const held = each => {
    for (let box = each.parentElement; box !== document.body && box; box = box.parentElement)
      if (getComputedStyle(box).overflowX !== "visible") return true;
    return false;
  };
  const wider = [...document.body.querySelectorAll("*")].filter(each =>
    each.getBoundingClientRect().right > document.documentElement.clientWidth + 1 && !held(each));
  const scrolls = document.documentElement.scrollWidth > innerWidth;
  return [...(scrolls ? ["the document scrolls"] : []),
    ...wider.slice(0, 5).map(each => `${each.tagName}.${each.className}`)];
}"""


@dataclass(frozen=True)
class Visit:
    """One page at one width and scheme: what went wrong, what sticks out, what axe finds."""

    address: str
    width: int
    scheme: str
    troubles: tuple[str, ...]
    overflow: tuple[str, ...]
    violations: tuple[str, ...]


def walk(
    browser: Browser,
    site: str,
    addresses: Collection[str],
    *,
    width: int,
    scheme: str,
    axe: str,
    asked: Collection[str],
    rules: Collection[str] = (),
) -> list[Visit]:
    """Open each page in turn in one tab; those in `asked` are shown to axe too."""
    visits = []
    with reading(browser, site, width=width, scheme=scheme) as tab:
        for address in addresses:
            page = tab.open(address)
            overflow = tuple(page.evaluate(WIDER))
            violations = complaints(page, axe, rules) if address in asked else ()
            troubles = tuple(tab.troubles)
            visits.append(Visit(address, width, scheme, troubles, overflow, violations))
            tab.troubles.clear()
    return visits


def complaints(page: Page, axe: str, rules: Collection[str] = ()) -> tuple[str, ...]:
    """What axe-core holds against the page as it stands, by these of its rules or by all."""
    page.evaluate(axe)
    return tuple(page.evaluate(AXE, list(rules)))
