"""A page of the site, and links between pages and into the repository."""

import json
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from rulebook.site.book import Book, SiteError

# Code is left as it is: what looks like a link in it is none.
LINK = re.compile(r"(?s)(^```.*?^```$|`+[^`]+`+)|\]\(([^)\s]+)\)", re.M)


@dataclass(frozen=True)
class Document:
    """A page: where it stands, what a browser gets, what an assistant gets, its title.

    `path` is relative to the site's Markdown folder.
    """

    path: str
    title: str
    description: str
    text: str
    plain: str
    meta: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where the page is, relative to the site: `rules/asyncio/cancellation/`."""
        return address(self.path)


def address(path: str) -> str:
    """The folder that a page of the Markdown folder becomes: `tools.md` is at `tools/`."""
    if posixpath.basename(path) == "index.md":
        folder = posixpath.dirname(path)
        return f"{folder}/" if folder else ""
    return f"{path.removesuffix('.md')}/"


def front(document: Document) -> str:
    """A page's text with the fields that the templates read."""
    fields = {"title": document.title, "description": document.description} | document.meta
    return f"---\n{json.dumps(fields, ensure_ascii=False)}\n---\n\n{document.text}\n"


def relinked(book: Book, text: str, source: str, path: str) -> str:
    """Markdown of a repository's file, with its links as the site's page `path` needs them."""
    here = posixpath.dirname(path) or "."
    return _links(book, text, source, lambda page: posixpath.relpath(page, here), book.source)


def absolute(book: Book, text: str, source: str) -> str:
    """Markdown of a repository's file with absolute links, to the Markdown of pages."""
    return _links(book, text, source, lambda page: markdown_url(book, page), book.source)


def markdown_url(book: Book, path: str) -> str:
    """The address of the Markdown that stands beside a page."""
    return f"{book.url}{address(path)}index.md"


def _links(
    book: Book,
    text: str,
    source: str,
    to_page: Callable[[str], str],
    to_file: Callable[[str], str],
) -> str:
    known = book.pages

    def change(match: re.Match[str]) -> str:
        link = match[2]
        if link is None or re.match(r"[a-z]+:|#", link):
            return match[0]
        target, mark, anchor = link.partition("#")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if place in known:
            return f"]({to_page(known[place])}{mark}{anchor})"
        if posixpath.normpath(target) in known.values():
            return f"]({to_page(posixpath.normpath(target))}{mark}{anchor})"
        if not (book.root / place).exists():
            line = text.count("\n", 0, match.start()) + 1
            raise SiteError(f"{source}:{line}: links {link}, which is not there; mend the link")
        return f"]({to_file(place)}{mark}{anchor})"

    return LINK.sub(change, text)
