"""A rule as a page: what its Markdown says, and what it hides."""

import re
from html import escape

from rulebook.model import Claim, Page, Pair
from rulebook.parse import CLAIM_SECTIONS, slug
from rulebook.render import PROBE, REVIEW
from rulebook.site.book import Book, lead, script
from rulebook.site.document import Document, absolute, relinked
from rulebook.site.facts import confirmation, error_texts, finders, text_link
from rulebook.site.mentions import with_mentions
from rulebook.site.pairs import pair_html

ERRORS = "error-texts"


def rule_document(book: Book, rule: Page) -> Document:
    """The page of a rule."""
    source = path = f"rules/{rule.id}.md"
    title, description = rule.meta["title"], rule.meta["impactDescription"]
    first, *sections = re.split(r"(?m)^## ", rule.body)
    _, _, why = first.strip().partition("\n")
    text = "\n\n".join(
        [
            _opening(book, rule, _prose(book, rule, why, path)),
            *(_section(book, rule, each, path) for each in sections),
            _all_texts(book, rule),
        ]
    )
    return Document(
        path=path,
        title=title,
        description=f"{description}. With the code that fails, the code that holds, and the tests.",
        text=text,
        plain=absolute(book, f"{_plain_opening(book, rule)}{_unmarked(rule)}", source),
        meta={"kind": "rule", "category": rule.category},
    )


def _opening(book: Book, rule: Page, why: str) -> str:
    rows = "".join(
        f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in _facts(book, rule)
    )
    return (
        '<div class="opening" markdown="block">\n<div class="opening-text" markdown="block">\n\n'
        f"# {rule.meta['title']} {{ #{slug(rule.meta['title'])} }}\n\n"
        f"{why}\n\n"
        f'<p class="when" markdown="span">**Read this when** {rule.meta["when"]}.</p>\n\n'
        f'{_within(rule)}\n\n</div>\n<dl class="glance">{rows}</dl>\n</div>'
    )


def _within(rule: Page) -> str:
    links = "".join(
        f'<li><a href="#{slug(heading.text)}">{escape(heading.text)}</a></li>'
        for heading in rule.headings
        if heading.level == 2 and heading.text != "Sources"
    )
    inner = f"<p>On this page</p><ul>{links}</ul>"
    return f'<nav class="within" aria-label="On this page">{inner}</nav>'


def impact_html(rule: Page) -> str:
    """How bad it is as a label, and what an operator would see."""
    impact = rule.meta["impact"].lower()
    label = f'<strong class="impact {impact}">{impact.capitalize()}</strong>'
    return f"{label} {escape(rule.meta['impactDescription'])}"


def _facts(book: Book, rule: Page) -> list[tuple[str, str]]:
    return [
        ("Impact", impact_html(rule)),
        ("Run on", _versions(book, rule)),
        ("Proof", _proof(book, rule)),
    ]


def _versions(book: Book, rule: Page) -> str:
    pythons = script("version_facts").PYTHONS
    verified = book.manifest["verified"] | {"python": f"{pythons[0]} to {pythons[-1]}"}
    shown = []
    for name, floor in rule.meta["requires"].items():
        ran = f"{escape(name)} {verified.get(name, '')}".strip()
        lowest = "" if name == "python" else f"lowest {str(floor).removeprefix('>=')}"
        shown.append(f'{ran} <span class="floor">{escape(lowest)}</span>')
    return "<br>".join(shown)


def _proof(book: Book, rule: Page) -> str:
    leading = {id(each) for name, found in book.texts.items() for each in found if _of(rule, name)}
    counts = [
        _count(len(rule.pairs), "pair"),
        f"{_count(len(rule.claims), 'trap')}, a test for each",
        f'<a href="#{ERRORS}">{_count(len(leading), "error text")}</a>' if leading else "",
    ]
    return ", ".join(filter(None, counts))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _of(rule: Page, name: str) -> bool:
    return name.partition("#")[0] == rule.id


def _section(book: Book, rule: Page, section: str, path: str) -> str:
    heading, _, body = section.partition("\n")
    name = slug(heading)
    top = f"## {heading.strip()} {{ #{name} }}"
    for pair in rule.pairs:
        if pair.slug == name:
            return f"{top}\n\n{_pair(book, rule, pair, body, path)}"
    if heading.strip() in CLAIM_SECTIONS:
        lines = section.split("\n")
        claims = [each for each in rule.claims if any(each.text in line for line in lines)]
        return "\n\n".join([top, *(_trap(book, rule, each, path) for each in claims)])
    return f"{top}\n\n{_prose(book, rule, body, path)}"


def _prose(book: Book, rule: Page, text: str, path: str) -> str:
    return with_mentions(book, relinked(book, text.strip(), f"rules/{rule.id}.md", path), path)


def _pair(book: Book, rule: Page, pair: Pair, body: str, path: str) -> str:
    before, _, rest = body.partition("**Incorrect**")
    after = rest.partition(f"```python\n{pair.correct.block.code}```")[2]
    texts = error_texts(book, rule.id, pair.slug)
    parts = [
        finders(book, rule.id, pair.slug),
        _prose(book, rule, before, path),
        relinked(book, pair_html(book, pair), path, path),
        _prose(book, rule, after, path),
        f'<div class="facts">{texts}</div>' if texts else "",
    ]
    return "\n\n".join(filter(None, parts))


def _trap(book: Book, rule: Page, claim: Claim, path: str) -> str:
    words, text = lead(claim)
    known = [
        finders(book, rule.id, claim.slug),
        confirmation(book, rule.id, claim.slug),
        error_texts(book, rule.id, claim.slug),
    ]
    return (
        '<section class="trap" markdown="block">\n\n'
        f"### {words} {{ #{claim.slug} }}\n\n"
        f"{_prose(book, rule, text, path)}\n\n"
        f'<div class="facts">{"".join(known)}</div>\n\n'
        "</section>"
    )


def _all_texts(book: Book, rule: Page) -> str:
    entries = {
        entry.fragment: entry
        for name, entries in book.texts.items()
        for entry in entries
        if _of(rule, name)
    }
    if not entries:
        return ""
    items = "\n".join(
        f"<li>{text_link(entries[fragment])}</li>" for fragment in sorted(entries, key=str.lower)
    )
    return f'## Error texts that lead here {{ #{ERRORS} }}\n\n<ul class="listing">{items}</ul>'


def _plain_opening(book: Book, rule: Page) -> str:
    """What the frontmatter says, for a reader of the Markdown."""
    verified = book.manifest["verified"]
    ran = ", ".join(
        f"{name} {floor} (run on {verified[name]})" if name in verified else f"{name} {floor}"
        for name, floor in rule.meta["requires"].items()
    )
    title = f"# {rule.meta['title']}"
    return (
        f"{title}\n\nImpact: {rule.meta['impact']}. {rule.meta['impactDescription']}.\n\n"
        f"Read this when {rule.meta['when']}.\n\nNeeds {ran}. A trap marked {REVIEW} is found by"
        f" review.py in code, {PROBE} by probe.py in a running application.\n\n"
    )


def _unmarked(rule: Page) -> str:
    """The body below its title."""
    return rule.body.strip().partition("\n")[2].strip() + "\n"
