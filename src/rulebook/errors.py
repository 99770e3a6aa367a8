"""Read the error index: `errors/<category>.md`, an entry for each text that a library writes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from rulebook.model import Finding, Page
from rulebook.parse import slug

FIELDS = ("Seen", "Cause", "Do", "Rule", "Versions")
OPTIONAL = {"Versions"}
NO_RULE = "none"  # what an entry says that is complete in itself
FIELD = re.compile(r"- \*(\w+)\*: (\S.*)")
LINK = re.compile(r"\[([^\]]+)\]\(\.\./rules/([a-z]+/[a-z-]+)\.md#([a-z0-9-]+)\)")
LEAST, MOST = 10, 90  # characters of a fragment
MARKDOWN = MarkdownIt("commonmark")
GAP = "…"  # what varies from run to run in a text


@dataclass(frozen=True)
class Entry:
    """One error text: its fragment, and what the index says of it, by field."""

    path: Path
    line: int
    fragment: str
    fields: dict[str, str]

    @property
    def category(self) -> str:
        return self.path.stem

    @property
    def seen(self) -> str:
        """The text as it was produced; `…` stands for what varies from run to run."""
        return self.fields.get("Seen", "").strip("`").strip()

    @property
    def rules(self) -> list[tuple[str, str]]:
        """The traps and pairs it leads to: rule and slug."""
        return [(match[2], match[3]) for match in LINK.finditer(self.fields.get("Rule", ""))]


def read_errors(root: Path) -> tuple[list[Entry], list[Finding]]:
    """Read every page below `root/errors`; what does not have an entry's form is a finding."""
    entries: list[Entry] = []
    findings: list[Finding] = []
    for path in sorted((root / "errors").glob("*.md")):
        fields: dict[str, str] | None = None
        for line, text in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if text.startswith("## "):
                fields = {}
                entries.append(Entry(path, line, text.removeprefix("## ").strip(), fields))
            elif fields is not None and text:
                match = FIELD.fullmatch(text)
                if match is None or match[1] in fields:
                    message, hint = "not a field of an entry", "write `- *Name*: text`, each once"
                    findings.append(Finding(path, line, message, hint))
                    continue
                fields[match[1]] = match[2]
    return entries, findings


def lint_errors(entries: list[Entry], rules: dict[str, Page]) -> Iterator[Finding]:
    """Yield what is wrong with entries: form, links, fragments that hide one another."""
    for entry in entries:
        for message, hint in _faults(entry, rules):
            yield Finding(entry.path, entry.line, f"{entry.fragment!r} {message}", hint)
    yield from _overlaps(entries)


def _faults(entry: Entry, rules: dict[str, Page]) -> Iterator[tuple[str, str]]:
    wanted = [name for name in FIELDS if name in entry.fields or name not in OPTIONAL]
    if list(entry.fields) != wanted:
        yield f"has {', '.join(entry.fields) or 'no field'}", f"write {', '.join(wanted)}"
    if not LEAST <= len(entry.fragment) <= MOST:
        yield f"has {len(entry.fragment)} characters", f"choose {LEAST} to {MOST} of the text"
    if _rendered(entry.fragment) != entry.fragment:
        yield "reads otherwise once rendered", "choose a part of the text without Markdown in it"
    if entry.fragment not in entry.seen:
        yield "does not occur in Seen", "copy it from the text as it was produced"
    if not re.fullmatch(r"`+ ?[^`].*?`+", entry.fields.get("Seen", "")):
        yield "Seen is not code", "put the text between backticks"
    if not entry.rules and not entry.fields.get("Rule", "").startswith(NO_RULE):
        hint = "link `[rule#slug](../rules/rule.md#slug)`, or say none"
        yield "leads to no rule", hint
    for match in LINK.finditer(entry.fields.get("Rule", "")):
        name, place = match[2], match[3]
        if match[1] != f"{name}#{place}":
            yield f"calls its link {match[1]!r}", f"call it {name}#{place}"
        if name not in rules or place not in _places(rules[name]):
            yield f"links what is not there: {name}#{place}", "name a pair or a trap by its slug"


def _places(rule: Page) -> set[str]:
    names = {pair.slug for pair in rule.pairs} | {claim.slug for claim in rule.claims}
    return names | {slug(heading.text) for heading in rule.headings}


def _rendered(text: str) -> str:
    (inline,) = [token for token in MARKDOWN.parse(f"## {text}") if token.children]
    plain = all(child.type == "text" for child in inline.children or ())
    return "".join(child.content for child in inline.children or ()) if plain else ""


def _overlaps(entries: list[Entry]) -> Iterator[Finding]:
    """Whoever searches for one text and finds two entries is told by one of them which is meant."""
    for entry in entries:
        for other in entries:
            if other is entry or entry.fragment not in f"{other.fragment}\n{other.seen}":
                continue
            if entry.fragment == other.fragment:
                if entry.line < other.line or entry.category < other.category:
                    message = f"{other.fragment!r} has a second entry"
                    yield Finding(other.path, other.line, message, "make one of the two")
                continue
            words = [(entry, other.fragment), (other, entry.fragment)]
            if not any(f"`{text}`" in "".join(who.fields.values()) for who, text in words):
                message = f"{entry.fragment!r} is part of {other.fragment!r}"
                hint = "say in one of them, with the other in backticks, how to tell them apart"
                yield Finding(entry.path, entry.line, message, hint)
