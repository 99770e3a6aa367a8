"""What is known of a trap or pair besides its text: tools, linters, tests, error texts."""

from html import escape

from rulebook.errors import Entry
from rulebook.linters import Advice
from rulebook.parse import slug
from rulebook.site.book import Book, Test
from rulebook.site.links import href

NAMES = {"flake8": "flake8-async"}
FEW = 2  # error texts that are shown without being asked for


def finders(book: Book, rule: str, place: str) -> str:
    """What finds it, as HTML: our tools and linters' codes; empty when nothing does."""
    found = []
    if (rule, place) in book.reviewed:
        found.append(_tool("review", "review.py finds it in code"))
    if (rule, place) in book.probed:
        found.append(_tool("probe", "probe.py sees it when the application runs"))
    found += _linters(book.advice.get(f"{rule}#{place}", []))
    return f'<p class="found">{" ".join(found)}</p>' if found else ""


def confirmation(book: Book, rule: str, place: str) -> str:
    """Which tests confirm a trap, as HTML."""
    tests = book.tests.get(("confirms", rule, place), [])
    links = "".join(test_link(each) for each in tests)
    return f'<p class="tests"><span>Confirmed by</span> {links}</p>' if tests else ""


def error_texts(book: Book, rule: str, place: str) -> str:
    """The error texts that lead to it, as HTML; many of them behind a summary."""
    entries = book.texts.get(f"{rule}#{place}", [])
    links = "".join(text_link(each) for each in entries)
    if not entries:
        return ""
    if len(entries) <= FEW:
        return f'<p class="texts"><span>Error text</span> {links}</p>'
    return f'<details class="texts"><summary>{len(entries)} error texts</summary>{links}</details>'


def test_link(test: Test) -> str:
    """A link to a test in the repository, its long name with places to break."""
    name = test.name.replace("_", "_<wbr>")
    return f'<a href="{test.address}" title="{escape(test.says)}"><code>{name}</code></a>'


def text_link(entry: Entry) -> str:
    """A link to an error text's entry."""
    address = href(f"errors/{entry.category}.md", slug(entry.fragment))
    return f"<a {address}><code>{escape(entry.fragment)}</code></a>"


def _tool(name: str, text: str) -> str:
    return f'<a class="badge {name}" {href("tools.md", f"{name}-py")} title="{text}">{name}</a>'


def _linters(advice: list[Advice]) -> list[str]:
    """A badge a linter with its codes, and one with those whose advice is to be refused."""
    codes: dict[tuple[str, bool], list[str]] = {}
    for each in advice:
        codes.setdefault((NAMES.get(each.tool, each.tool), each.refused), []).append(each.code)
    return [
        f'<span class="badge refuse" title="Following {name} makes the trap">'
        f"refuse {name} {' '.join(names)}</span>"
        if refused
        else f'<span class="badge linter" title="{name} reports it">{name} {" ".join(names)}</span>'
        for (name, refused), names in codes.items()
    ]
