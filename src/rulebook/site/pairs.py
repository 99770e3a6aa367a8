"""A pair as HTML: both halves with their differing lines marked, and what a test saw of them."""

import json
from html import escape
from typing import Any

from rulebook.model import Half, Pair
from rulebook.site.book import Book
from rulebook.site.code import code, differing
from rulebook.site.facts import test_link

EMPTY = {"set()", "[]", "{}", "()", "''", "None", ""}
ICONS = {
    "incorrect": '<svg class="icon" viewBox="0 0 16 16" aria-hidden="true">'
    '<path d="M4 4l8 8M12 4l-8 8"/></svg>',
    "correct": '<svg class="icon" viewBox="0 0 16 16" aria-hidden="true">'
    '<path d="M3 8.5l3.2 3.2L13 5"/></svg>',
}


def pair_html(book: Book, pair: Pair) -> str:
    """Both halves, and the evidence under them."""
    marks = differing(pair.incorrect.block.code, pair.correct.block.code)
    halves = [half_html(half, mark) for half, mark in zip(pair.halves, marks, strict=True)]
    return (
        '<div class="pair" markdown="block">\n\n'
        + "\n\n".join(halves)
        + "\n\n</div>\n\n"
        + evidence_html(book, pair)
    )


def half_html(half: Half, marked: frozenset[int] = frozenset()) -> str:
    """One half: its verdict as a word, what is seen to happen, its code."""
    claim = half.claim.rstrip(":")
    return (
        f'<figure class="half {half.verdict}" markdown="block">\n'
        f'<figcaption markdown="span">'
        f'<strong class="verdict">{ICONS[half.verdict]}{half.verdict.capitalize()}</strong>'
        f" {claim}</figcaption>\n\n"
        f"{code(half.block.code, 'python', marked)}\n\n"
        "</figure>"
    )


def evidence_html(book: Book, pair: Pair) -> str:
    """The test that told the halves apart, and the values it saw in each where they differ."""
    rule = pair.incorrect.page.removeprefix("rules/").removesuffix(".md")
    tests = book.tests.get(("proves", rule, pair.slug), [])
    if not tests:
        return ""
    test = tests[0]
    bad, good = (_recorded(book, rule, half) for half in pair.halves)
    rows = [_row(escape(test.says), "yes", "no")]
    for name, value in bad.get("seen", {}).items():
        other = good.get("seen", {}).get(name, value)
        if value != other:
            words = "values" if name == "seen" else name.replace("_", " ").strip()
            rows.append(_row(escape(words), _value(value), _value(other)))
    python = f", on Python {bad['python']}" if "python" in bad else ""
    return (
        '<div class="evidence"><table>'
        f"<caption>Observed by {test_link(test)}{python}"
        "</caption>"
        '<thead><tr><td></td><th scope="col">Incorrect</th><th scope="col">Correct</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(what: str, bad: str, good: str) -> str:
    return (
        f'<tr><th scope="row">{what}</th>'
        f'<td class="bad">{bad}</td><td class="good">{good}</td></tr>'
    )


def _recorded(book: Book, rule: str, half: Half) -> dict[str, Any]:
    name = f"{half.pair}.{half.verdict}.json"
    path = book.root / ".cache" / "evidence" / rule / name
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return "none" if text in EMPTY else f"<code>{escape(text)}</code>"
