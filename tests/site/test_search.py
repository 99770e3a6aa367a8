"""The site's search, asked in the words of a log."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.site.browser import PHONE, WIDE, reading
from tests.site.documents import Site
from tests.site.visits import complaints

pytestmark = pytest.mark.slow

# As users paste them: other sizes, names, addresses and links than where the index was made.
PASTED = {
    "sqlalchemy.exc.TimeoutError: QueuePool limit of size 5 overflow 10 reached, connection timed"
    " out, timeout 30.00 (Background on this error at: https://sqlalche.me/e/20/3o7r)": (
        "errors/pooling/#queuepool-limit-of-size"
    ),
    "RuntimeError: Task <Task pending name='Task-5' coro=<create_order() running at"
    " /srv/app/orders/api.py:41> cb=[_run_until_complete_cb() at /usr/lib/python3.12/asyncio/"
    "base_events.py:182]> got Future <Future pending cb=[BaseProtocol._on_waiter_completed()]>"
    " attached to a different loop": "errors/asyncio/#attached-to-a-different-loop",
    "MissingGreenlet: greenlet_spawn has not been called; can't call await_only() here. Was IO"
    " attempted in an unexpected place? (Background on this error at:"
    " https://sqlalche.me/e/20/xd2s)": "errors/sqlalchemy/#greenlet-spawn-has-not-been-called",
    "2026-03-02 10:14:07,113 ERROR asyncio Unclosed client session client_session:"
    " <aiohttp.client.ClientSession object at 0x7f3a5c1d2e90>": (
        "errors/pooling/#unclosed-client-session"
    ),
    "sqlalchemy.orm.exc.DetachedInstanceError: Parent instance <Invoice at 0x10a4b2c50> is not"
    " bound to a Session; lazy load operation of attribute 'customer' cannot proceed (Background"
    " on this error at: https://sqlalche.me/e/20/bhk3)": (
        "errors/sqlalchemy/#is-not-bound-to-a-session-lazy-load-operation-of-attribute"
    ),
    'RuntimeError: Cannot call "send" once a close message has been sent.': (
        "errors/fastapi/#cannot-call-send-once-a-close-message-has-been-sent"
    ),
}
TRACEBACK = """\
Traceback (most recent call last):
  File "/srv/app/.venv/lib/python3.12/site-packages/sqlalchemy/pool/impl.py", line 166, in _do_get
    raise exc.TimeoutError(
sqlalchemy.exc.TimeoutError: QueuePool limit of size 5 overflow 10 reached, connection timed out

During handling of the above exception, another exception occurred:

sqlalchemy.exc.MissingGreenlet: greenlet_spawn has not been called; can't call await_only() here.
"""
COVERED = """() => [...document.querySelectorAll("[role=option]")].filter(option => {
  const box = option.getBoundingClientRect();
  const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
  const end = Math.min(innerHeight, option.closest("#results").getBoundingClientRect().bottom);
  return y < end && !option.contains(document.elementFromPoint(x, y));
}).map(option => option.textContent)"""
RULES = {
    "QueuePool limit": "rules/pooling/tuning/",
    "greenlet_spawn": "rules/sqlalchemy/relationships/",
}


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """The home page, with the search open and its field focused."""
    with reading(browser, site.address) as tab:
        page = tab.open()
        page.keyboard.press("/")
        expect(page.get_by_role("combobox", name="Search")).to_be_focused()
        yield page


def asked(page: Page, text: str) -> Page:
    """The page with results on it, the first of them chosen."""
    page.keyboard.press("/")
    page.keyboard.insert_text(text)
    expect(results(page).first).to_be_visible()
    page.keyboard.press("ArrowDown")
    return page


def results(page: Page) -> Locator:
    return page.get_by_role("option")


@pytest.mark.parametrize(("words", "rule"), RULES.items(), ids=RULES)
def test_a_typed_fragment_finds_its_rule(page: Page, site: Site, words: str, rule: str) -> None:
    """Whoever knows two words of the error is led to a rule, too."""
    page.keyboard.type(words)

    expect(page.locator(f"[role=option][href*='{site.address}{rule}']").first).to_be_visible()


@pytest.mark.parametrize(("text", "entry"), PASTED.items(), ids=PASTED.values())
def test_a_pasted_message_finds_its_entry(page: Page, site: Site, text: str, entry: str) -> None:
    """A whole message, noise included, has its entry as the first result."""
    page.keyboard.insert_text(text)

    path, anchor = entry.split("#")
    place = re.compile(rf"{re.escape(path)}(\?.*)?#{re.escape(anchor)}$")
    expect(results(page).first).to_have_attribute("href", place)


def test_a_result_leads_to_its_entry(page: Page) -> None:
    """Enter opens the entry with its heading in sight."""
    (text, entry), *_ = PASTED.items()
    page.keyboard.insert_text(text)
    expect(results(page).first).to_have_attribute("href", re.compile("queuepool-limit-of-size"))
    page.keyboard.press("Enter")

    expect(page.locator("#" + entry.split("#")[1])).to_be_in_viewport()


@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (PHONE, "dark")])
def test_the_results_lie_on_top(browser: Browser, site: Site, width: int, scheme: str) -> None:
    """Nothing of the page shows through the results, or takes their clicks."""
    with reading(browser, site.address, width=width, scheme=scheme) as tab:
        page = asked(tab.open(), "attached to a different loop")

        assert page.evaluate(COVERED) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_results(
    browser: Browser, site: Site, axe: str, scheme: str
) -> None:
    """The list of results has its roles, names and contrast."""
    with reading(browser, site.address, scheme=scheme) as tab:
        page = asked(tab.open(), "attached to a different loop")

        assert complaints(page, axe) == ()


def test_the_arrows_choose_a_result(page: Page) -> None:
    """The second result opens as the second is chosen."""
    page.keyboard.type("QueuePool limit")
    expect(results(page).nth(1)).to_be_visible()
    second = results(page).nth(1).get_attribute("href") or ""
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(results(page).nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")

    expect(page).to_have_url(second)


def test_nonsense_is_not_found(page: Page) -> None:
    """A text that the site does not know is told so."""
    page.keyboard.insert_text("zxqv")

    expect(page.get_by_role("status")).to_have_text("Nothing found")


def test_a_traceback_pasted_into_the_index_finds_its_entries(browser: Browser, site: Site) -> None:
    """A log of many lines leads to each text in it."""
    with reading(browser, site.address) as tab:
        page = tab.open("errors/")
        page.get_by_role("textbox").last.fill(TRACEBACK)

        answers = page.locator(".pasted a")
        expect(answers.filter(has_text="QueuePool limit of size")).to_be_visible()
        expect(answers.filter(has_text="greenlet_spawn has not been called")).to_be_visible()
