"""Print what was found: as text for people and agents, as JSON, as SARIF."""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from checks import Found
from explanation import traps
from project.files import VERSION, Unread

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
SCRIPTS = Path(__file__).resolve().parent


def as_text(
    findings: list[Found], hints: list[Found], unread: list[Unread], *, show_hints: bool
) -> None:
    """Findings on stdout, a line each; what was not read and what to do next on stderr."""
    for each in findings:
        print(_line(each))
    for each in hints if show_hints else ():
        print(_line(each, "hint: "))
    for each in unread:
        print(f"{each.path}:{each.line}: not read: {each.message}", file=sys.stderr)
    if any("not Python" in each.message for each in unread):
        newer = f"run review.py with that one: this is Python {VERSION}"
        print(f"where the project needs a newer Python, {newer}", file=sys.stderr)
    for line in _closing(findings, hints, show_hints=show_hints):
        print(line, file=sys.stderr)


def _line(found: Found, kind: str = "") -> str:
    place = f"{found.path}:{found.line}:{found.column}"
    return f"{place}: {kind}{found.message}; instead: {found.instead} [{found.trap}]"


def _closing(findings: list[Found], hints: list[Found], *, show_hints: bool) -> Iterable[str]:
    more = "" if show_hints or not hints else f", {_count(hints, 'hint')} (--hints)"
    yield f"{_count(findings, 'finding')}{more}"
    pages = Counter(page for each in findings if (page := _page(each)))
    if pages:
        named = ", ".join(f"rules/{page}.md ({count})" for page, count in pages.most_common())
        yield f"read {named}"
    yield f"what linters find better: ruff check --config {_linters()} ."


def _count(things: list[Found], name: str) -> str:
    return f"{len(things) or 'no'} {name}{'' if len(things) == 1 else 's'}"


def _page(found: Found) -> str:
    page = found.trap.partition("#")[0]
    return page if "/" in page else ""


def _linters() -> str:
    path = SCRIPTS / "linters.toml"
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def as_json(findings: list[Found], hints: list[Found], unread: list[Unread]) -> str:
    """One object with `findings`, `hints` and `unread`; lines and columns count from 1."""
    content = {
        "findings": [_object(each) for each in findings],
        "hints": [_object(each) for each in hints],
        "unread": [
            {"path": each.path, "line": each.line, "message": each.message} for each in unread
        ],
    }
    return json.dumps(content, indent=2)


def _object(found: Found) -> dict[str, Any]:
    return {
        "path": found.path,
        "line": found.line,
        "column": found.column,
        "trap": found.trap,
        "message": found.message,
        "instead": found.instead,
    }


def as_sarif(findings: list[Found], hints: list[Found]) -> str:
    """A SARIF 2.1.0 log, as GitHub code scanning reads it; hints are notes."""
    named = sorted({each.trap for each in [*findings, *hints]})
    texts = traps()
    rules = [
        {
            "id": trap,
            "shortDescription": {"text": trap.partition("#")[2].replace("-", " ")},
            "fullDescription": {"text": _plain(texts.get(trap, trap))},
            "help": {"text": texts.get(trap, trap), "markdown": texts.get(trap, trap)},
        }
        for trap in named
    ]
    driver = {"name": "python-backend review", "rules": rules}
    results = [_result(each, named.index(each.trap)) for each in [*findings, *hints]]
    run = {"tool": {"driver": driver}, "columnKind": "utf16CodeUnits", "results": results}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _plain(text: str) -> str:
    return text.partition("\n")[0].replace("**", "").removeprefix("## ")[:1000]


def _result(found: Found, index: int) -> dict[str, Any]:
    region = {"startLine": found.line, "startColumn": found.column}
    place = {"artifactLocation": {"uri": quote(found.path)}, "region": region}
    return {
        "ruleId": found.trap,
        "ruleIndex": index,
        "level": "note" if found.hint else "warning",
        "message": {"text": f"{found.message}; instead: {found.instead}"},
        "locations": [{"physicalLocation": place}],
    }
