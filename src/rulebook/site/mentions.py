"""Code in prose that is the name of something with a place of its own becomes a link to it."""

import posixpath
import re

from rulebook.site.book import Book

# Fences and links are left as they are; what is left is code in prose.
CODE = re.compile(
    r"(?sm)(^```.*?^```$|\[(?:[^\[\]`]|`[^`]*`)*\]\([^)\s]*\))|(?<!`)`([^`\n]+)`(?!`)"
)


def with_mentions(book: Book, text: str, path: str, own: str = "") -> str:
    """Markdown of the page `path` with links to error texts, other than `own`, and to scripts."""

    def link(match: re.Match[str]) -> str:
        name = (match[2] or "").removeprefix("scripts/")
        if match[1] or name == own or name not in book.named:
            return match[0]
        page, anchor = book.named[name]
        where = "" if page == path else posixpath.relpath(page, posixpath.dirname(path) or ".")
        return f"[`{match[2]}`]({where}#{anchor})"

    return CODE.sub(link, text)
