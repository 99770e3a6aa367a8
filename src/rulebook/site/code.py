"""Code as HTML: a span a line, so that lines can be marked and wrapped."""

import difflib
import re
from functools import cache
from html import escape
from typing import Any

from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
from pygments.token import STANDARD_TYPES  # type: ignore[import-untyped]
from pygments.util import ClassNotFound  # type: ignore[import-untyped]

# Where a long line may be wrapped before a name is cut; it is no text, so copies stay exact.
BREAKS = re.compile(r"([.(\[=,/])(?=\w|$)")
INDENT = re.compile(r'^(?:<span class="w">)?( +)(?:</span>)?')


def code(text: str, language: str, marked: frozenset[int] = frozenset()) -> str:
    """A `pre` of the text, with the lines of these numbers (from 0) marked as differing."""
    shown = [
        line_html(line, plain, "line differs" if number in marked else "line")
        for number, (line, plain) in enumerate(
            zip(_lines(text, language), text.rstrip("\n").split("\n"), strict=True)
        )
    ]
    return f'<div class="highlight"><pre><code>{"".join(shown)}</code></pre></div>'


def line_html(line: str, plain: str, classes: str) -> str:
    """A line of code that, where it has to be wrapped, goes on further in than it begins."""
    indent = len(plain) - len(plain.lstrip(" "))
    style = f' style="--indent:{indent}"' if indent else ""
    line = INDENT.sub(r'<span class="indent">\1</span>', line)
    return f'<span class="{classes}"{style}>{line}\n</span>'


def differing(left: str, right: str) -> tuple[frozenset[int], frozenset[int]]:
    """The lines (from 0) of each side that the other lacks, apart from whitespace."""
    sides = [[" ".join(line.split()) for line in text.splitlines()] for text in (left, right)]
    alone: tuple[set[int], set[int]] = set(), set()
    matcher = difflib.SequenceMatcher(a=sides[0], b=sides[1], autojunk=False)
    for operation, *span in matcher.get_opcodes():
        if operation != "equal":
            alone[0].update(number for number in range(*span[:2]) if sides[0][number])
            alone[1].update(number for number in range(*span[2:]) if sides[1][number])
    return frozenset(alone[0]), frozenset(alone[1])


def escaped(text: str) -> str:
    """Text as HTML in which a generator takes nothing for a Markdown link."""
    return escape(text).replace("](", "]&#40;")


@cache
def _lines(text: str, language: str) -> list[str]:
    try:
        lexer = get_lexer_by_name(language or "text", stripnl=False, ensurenl=False)
    except ClassNotFound:
        lexer = get_lexer_by_name("text", stripnl=False, ensurenl=False)
    lines = [""]
    for kind, value in lexer.get_tokens(text.rstrip("\n")):
        first, *others = (_span(kind, part) for part in value.split("\n"))
        lines[-1] += first
        lines += others
    return lines


def _span(kind: Any, text: str) -> str:
    while kind not in STANDARD_TYPES:
        kind = kind.parent
    name = STANDARD_TYPES[kind]
    text = BREAKS.sub(r"\1<wbr>", escaped(text))
    return f'<span class="{name}">{text}</span>' if name and text else text
