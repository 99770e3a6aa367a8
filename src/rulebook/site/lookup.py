"""What the search field looks in: a section a piece, and the texts that name an error."""

import json
import re
from collections.abc import Iterator
from typing import Any

from rulebook.parse import slug
from rulebook.render import PROBE, REVIEW
from rulebook.site.book import Book, script
from rulebook.site.document import Document

HEADING = re.compile(r"(?m)^## (.+)$")
BULLET = re.compile(rf"(?m)^- \*\*(.+?)[.{REVIEW}{PROBE}]*\*\*")
FENCE = re.compile(r"(?ms)^```\w*$|^```$")
LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\([^)\s]+\)")
UNSEARCHED = {"Sources"}  # sections of a rule, in which nobody looks for anything


def lookup(book: Book, documents: list[Document]) -> str:
    """The content of search.json."""
    pieces: list[dict[str, Any]] = []
    for each in documents:
        if each.path == "changelog.md":
            continue
        if each.meta["kind"] == "errors":
            pieces += _texts(book, each)
        elif each.meta["kind"] != "index":
            pieces += _sections(book, each)
        else:
            pieces.append(_piece(each, each.title, "", each.description))
    return json.dumps(pieces, ensure_ascii=False, separators=(",", ":")) + "\n"


def _piece(document: Document, title: str, anchor: str, text: str) -> dict[str, Any]:
    url = f"{document.address}#{anchor}" if anchor else document.address
    return {"url": url, "page": document.title, "title": title, "text": _words(text)}


def _sections(book: Book, document: Document) -> Iterator[dict[str, Any]]:
    rule = book.rules.get(document.path.removeprefix("rules/").removesuffix(".md"))
    first, *rest = HEADING.split(document.plain)
    yield _piece(document, document.title, "", first.partition("\n")[2])
    for heading, text in zip(rest[::2], rest[1::2], strict=True):
        if rule and heading in UNSEARCHED:
            continue
        start, *claims = BULLET.split(text) if rule else [text]
        parts = [(heading, start), *zip(claims[::2], claims[1::2], strict=True)]
        for title, said in parts:
            piece = _piece(document, title.replace("`", ""), slug(title), said)
            if rule:
                entries = book.texts.get(f"{rule.id}#{slug(title)}", [])
                piece["errors"] = " ".join(entry.fragment for entry in entries)
            yield piece


def _texts(book: Book, document: Document) -> Iterator[dict[str, Any]]:
    """The entries of a page, each with the forms in which explain.py knows it."""
    reader = script("tracebacks")
    for entry in book.entries:
        if entry.category != document.meta["category"]:
            continue
        fields = " ".join(entry.fields.get(name, "") for name in ("Cause", "Do", "Versions"))
        known = reader.Entry(entry.fragment, entry.fields)
        yield _piece(document, entry.fragment, slug(entry.fragment), fields) | {
            "seen": entry.seen,
            "spelt": [entry.fragment, *known.wordings],
            "like": known.skeleton.pattern if known.skeleton else None,
            "wraps": entry.fragment in reader.WRAPPERS,
        }


def _words(text: str) -> str:
    text = LINK.sub(r"\1", FENCE.sub("", text)).replace("`", "").replace("*", "")
    return " ".join(text.replace("|", " ").split())
