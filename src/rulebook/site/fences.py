"""Fenced code of hand-written pages as HTML, a terminal with its traps as links."""

import re

from rulebook.site.book import Book
from rulebook.site.code import code, escaped, line_html
from rulebook.site.links import href

FENCE = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")
TRAP = re.compile(r"(?:rules/)?([a-z]+/[a-z-]+)(?:\.md)?#([a-z0-9-]+)")


def with_code(book: Book, text: str) -> str:
    """Markdown with each fenced block in its place as HTML."""

    def block(match: re.Match[str]) -> str:
        language, content = match[1], match[2]
        return _console(book, content) if language == "console" else code(content, language)

    return FENCE.sub(block, text)


def _console(book: Book, text: str) -> str:
    lines, asked = [], False
    for line in text.rstrip("\n").split("\n"):
        begins = line.startswith("$ ")
        if begins or asked:
            shown = escaped(line.removeprefix("$ ") if begins else line)
            prompt = '<span class="prompt">$ </span>' if begins else ""
            lines.append(line_html(f"{prompt}<b>{shown}</b>", line, "line command"))
            asked = line.endswith("\\")
        else:
            lines.append(line_html(_linked(book, escaped(line)), line, "line"))
    return f'<div class="highlight console"><pre><code>{"".join(lines)}</code></pre></div>'


def _linked(book: Book, line: str) -> str:
    def link(match: re.Match[str]) -> str:
        if f"{match[1]}#{match[2]}" not in book.names:
            return match[0]
        return f"<a {href(f'rules/{match[1]}.md', match[2])}>{match[0]}</a>"

    return TRAP.sub(link, line)
