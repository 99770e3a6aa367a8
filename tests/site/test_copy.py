"""What the copy buttons put on the clipboard."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, expect

from rulebook.parse import read_rules
from tests.harness import ROOT
from tests.site.browser import Tab, reading
from tests.site.documents import Site

pytestmark = pytest.mark.slow

RULE = read_rules(ROOT)[0]["asyncio/taskgroup"]
PAIR = RULE.pairs[-1]


@pytest.fixture
def tab(browser: Browser, site: Site) -> Iterator[Tab]:
    """A reader with a clipboard."""
    with reading(browser, site.address) as tab:
        yield tab


def copied(block: Locator) -> str:
    """Press the button of a block of code, and read the clipboard."""
    block.hover()
    button = block.get_by_role("button")
    button.click()
    expect(button).to_have_text("Copied")
    text: str = block.page.evaluate("() => navigator.clipboard.readText()")
    return text


@pytest.mark.parametrize("verdict", ["incorrect", "correct"])
def test_a_half_is_copied_as_it_was_run(tab: Tab, verdict: str) -> None:
    """What is pasted is what the tests ran: no mark, no blank more or less."""
    (half,) = [half for half in PAIR.halves if half.verdict == verdict]
    block = tab.open(f"rules/{RULE.id}/").locator(f"#{PAIR.slug} ~ .pair").first

    assert copied(block.locator(f".{verdict} .highlight")) == half.block.code


def test_of_a_terminal_the_command_is_copied(tab: Tab) -> None:
    """Neither the prompt nor what the command printed ends up in the reader's shell."""
    terminal = tab.open("tools/").locator(".highlight").first

    assert re.fullmatch(r"(python3 \.agents/\S+.*\n|echo .*\n)+", copied(terminal))
