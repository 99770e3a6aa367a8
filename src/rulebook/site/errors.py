"""The error index as pages: one a category, and a list of all texts."""

import re
from functools import partial

from rulebook.errors import LINK, Entry
from rulebook.parse import slug
from rulebook.site.book import Book
from rulebook.site.code import code
from rulebook.site.document import Document, absolute, relinked
from rulebook.site.facts import test_link, text_link
from rulebook.site.mentions import with_mentions

TITLES = {"asyncio": "asyncio", "fastapi": "FastAPI", "pooling": "Pooling"}
TITLES |= {"sqlalchemy": "SQLAlchemy and Alembic"}
SHOWN = ("Cause", "Do", "Versions", "Rule")


def title_of(category: str) -> str:
    """The category as people write it."""
    return TITLES.get(category, category.capitalize())


def error_document(book: Book, category: str) -> Document:
    """The page of a category's error texts."""
    source = path = f"errors/{category}.md"
    entries = [each for each in book.entries if each.category == category]
    name = title_of(category)
    items = "\n".join(_item(each) for each in entries)
    head = (
        f"# Error texts: {name} {{ #error-texts-{slug(name)} }}\n\n"
        f"{len(entries)} texts, each written by a library in a test.\n\n"
        f'<details class="contents"><summary>List of the {len(entries)} texts</summary>'
        f"<ul>{items}</ul></details>"
    )
    body = "\n\n".join(_entry(book, each, path) for each in entries)
    return Document(
        path=path,
        title=f"Error texts: {name}",
        description=f"{len(entries)} error texts of {name}: cause, cure and the rule behind each.",
        text=f'{head}\n\n<div class="entries" markdown="block">\n\n{body}\n\n</div>',
        plain=absolute(book, (book.root / source).read_text(encoding="utf-8"), source),
        meta={"kind": "errors", "category": category},
    )


def index_document(book: Book) -> Document:
    """The list of all texts, with a field to paste one into."""
    path = "errors/index.md"
    parts, plain = [], []
    for category in dict.fromkeys(each.category for each in book.entries):
        entries = [each for each in book.entries if each.category == category]
        ordered = sorted(entries, key=lambda each: each.fragment.lower())
        name = title_of(category)
        items = "\n".join(_item(each) for each in ordered)
        page = f"errors/{category}.md"
        link = relinked(
            book, f"[All {len(entries)} with cause and cure]({page})", "README.md", path
        )
        parts.append(
            f'## {name} {{ #{slug(category)} }}\n\n{link}\n\n<ul class="listing">{items}</ul>'
        )
        plain.append(absolute(book, f"- [{name}]({page}): {len(entries)} texts", "README.md"))
    title = "Error texts"
    said = (
        f"{len(book.entries)} error texts of async Python backends: what each means and its cure."
    )
    paste = (
        '<form class="paste" hidden><label for="paste">Paste an error, a traceback or a log</label>'
        '<textarea id="paste" rows="4" spellcheck="false" autocomplete="off"></textarea>'
        '<div class="pasted" role="status"></div></form>'
    )
    return Document(
        path=path,
        title=title,
        description=said,
        text=f"# {title} {{ #error-texts }}\n\n"
        "A text here is the stable part of what a library writes. Each was produced by a test.\n\n"
        f"{paste}\n\n" + "\n\n".join(parts),
        plain=f"# {title}\n\n{said}\n\n" + "\n".join(plain) + "\n",
        meta={"kind": "index"},
    )


def _item(entry: Entry) -> str:
    return f"<li>{text_link(entry)}</li>"


def _named(book: Book, match: re.Match[str]) -> str:
    """A link to a trap by its words, with its rule behind."""
    rule, place = match[2], match[3]
    words = book.names.get(match[1], match[1])
    return f'[{words}](../rules/{rule}.md#{place}) <span class="of">{rule}</span>'


def _entry(book: Book, entry: Entry, path: str) -> str:
    rows = []
    for name in SHOWN:
        text = entry.fields.get(name)
        if text is None or (name == "Rule" and text == "none"):
            continue
        if name == "Rule":
            text = LINK.sub(partial(_named, book), re.sub(r"^none; near ", "Near it: ", text))
        linked = relinked(book, text, path, path)
        if name != "Rule":
            linked = with_mentions(book, linked, path, entry.fragment)
        rows.append(
            f'<div class="field" markdown="block">\n\n<p class="name">{name}</p>\n\n'
            f"{linked}\n\n</div>"
        )
    rows += [
        f'<p class="produced">Written in {test_link(each)}</p>'
        for each in book.tests.get(("produces", path.removesuffix(".md"), entry.fragment), [])
    ]
    return (
        '<section class="error" markdown="block">\n\n'
        f"## `{entry.fragment}` {{ #{slug(entry.fragment)} }}\n\n"
        f"{code(entry.seen, 'text')}\n\n" + "\n\n".join(rows) + "\n\n</section>"
    )
