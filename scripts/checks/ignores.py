"""`# python-backend: ignore[slug] reason`: the escape at the line, and what is wrong with one."""

import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from project.module import Module

from checks import Found

COMMENT = re.compile(r"#\s*python-backend:\s*ignore\s*(?:\[([^\]]*)\])?\s*(.*)")
FORM = "# python-backend: ignore[slug] why this is right here"


@dataclass(frozen=True)
class Ignore:
    """One comment: the line it speaks of, where it stands, the trap's slug, the reason."""

    target: int
    line: int
    column: int
    slug: str
    reason: str


def ignores(module: Module) -> Iterator[Ignore]:
    """The ignore comments of a module. One alone on its line speaks of the next line of code."""
    if b"python-backend:" not in module.source:
        return
    waiting: list[tuple[int, int, str, str]] = []
    try:
        for token in tokenize.tokenize(io.BytesIO(module.source).readline):
            match = COMMENT.match(token.string) if token.type == tokenize.COMMENT else None
            line, column = token.start
            if match:
                place = (line, column + 1, (match[1] or "").strip(), match[2].strip())
                if token.line[:column].strip():
                    yield Ignore(line, *place)
                else:
                    waiting.append(place)
            elif waiting and token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.INDENT):
                yield from (Ignore(line, *place) for place in waiting)
                waiting = []
    except (tokenize.TokenError, SyntaxError):
        return  # the file parsed, so what is left holds no code


def apply(module: Module, found: list[Found], traps: set[str]) -> list[Found]:
    """Drop what is ignored with a reason; add what is wrong with ignore comments."""
    kept = list(found)
    for each in ignores(module):
        named = [trap for trap in traps if each.slug in (trap, trap.partition("#")[2])]
        hit = [item for item in found if item.trap in named and item.line == each.target]
        fault = _fault(each, named, bool(hit), traps)
        if fault is None:
            kept = [item for item in kept if item not in hit]
        else:
            kept.append(_complaint(module, each, *fault))
    return kept


def _fault(each: Ignore, named: list[str], hit: bool, traps: set[str]) -> tuple[str, ...] | None:
    if not named:
        slugs = sorted({trap.partition("#")[2] for trap in traps} | traps)
        near = get_close_matches(each.slug, slugs, 1, 0.0)
        return "unknown-trap", f"no check is called {each.slug!r}", f"ignore[{near[0]}]"
    if not each.reason:
        return "ignore-without-reason", "the comment does not say why this is right here", FORM
    if not hit:
        return (
            "unused-ignore",
            f"nothing is found here that {each.slug!r} would ignore",
            "remove the comment",
        )
    return None


def _complaint(module: Module, each: Ignore, slug: str, message: str, instead: str) -> Found:
    return Found(
        module.path, each.line, each.column, f"review#{slug}", message, instead, end=each.line
    )
