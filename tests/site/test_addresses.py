"""What the tools and pages name by `category/rule#slug` or by an error text has an address."""

import pytest

from rulebook.errors import Entry, read_errors
from rulebook.model import Page
from rulebook.parse import read_rules, slug
from tests.harness import ROOT
from tests.site.documents import Site

pytestmark = pytest.mark.slow

RULES: dict[str, Page] = read_rules(ROOT)[0]
ENTRIES: list[Entry] = read_errors(ROOT)[0]


@pytest.mark.parametrize("rule", RULES)
def test_each_pair_and_trap_has_its_address(site: Site, rule: str) -> None:
    """The name that review, probe and explain print is a place on the rule's page."""
    page = site.read(f"{site.address}rules/{rule}/")
    names = {each.slug for each in (*RULES[rule].pairs, *RULES[rule].claims)}

    assert names - set(page.ids) == set()


@pytest.mark.parametrize("rule", RULES)
def test_each_pair_and_trap_has_a_link_to_copy(site: Site, rule: str) -> None:
    """A reader can pass on the address of one trap."""
    page = site.read(f"{site.address}rules/{rule}/")
    links = {link.rpartition("#")[2] for link in page.links if "#" in link}
    names = {each.slug for each in (*RULES[rule].pairs, *RULES[rule].claims)}

    assert names - links == set()


@pytest.mark.parametrize("rule", RULES)
def test_the_markdown_of_a_rule_holds_its_code(site: Site, rule: str) -> None:
    """What an assistant fetches are the same halves, line for line."""
    path = site.file(site.markdown(f"{site.address}rules/{rule}/"))
    text = path.read_text(encoding="utf-8") if path else ""

    assert [block.line for block in RULES[rule].blocks if block.code not in text] == []


def test_each_error_text_has_its_address(site: Site) -> None:
    """An error text is a heading of its category's page."""
    ids = {
        category: set(site.read(f"{site.address}errors/{category}/").ids)
        for category in {entry.category for entry in ENTRIES}
    }

    assert [
        entry.fragment for entry in ENTRIES if slug(entry.fragment) not in ids[entry.category]
    ] == []
