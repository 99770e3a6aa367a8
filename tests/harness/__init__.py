"""How a test speaks about a rule: it proves a pair, it confirms a claim."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rulebook.load import load
from rulebook.model import Page, Pair
from rulebook.parse import read_page, read_rules
from tests.harness.judge import judge, run

__all__ = ["ROOT", "confirms", "correct", "incorrect", "pages", "pair_of", "proves"]

ROOT = Path(__file__).parents[2]


@functools.cache
def pages() -> dict[str, Page]:
    """Every rule by id, and SKILL.md as `SKILL`."""
    rules, _ = read_rules(ROOT)
    skill, _ = read_page(ROOT / "SKILL.md", ROOT)
    return rules | {"SKILL": skill} if skill else rules


def pair_of(page: str, pair: str) -> Pair:
    """Look up a pair. Raises LookupError naming the ones there are."""
    if page not in pages():
        raise LookupError(f"no page {page!r}; there are {sorted(pages())}")
    known = {each.slug: each for each in pages()[page].pairs}
    if pair not in known:
        raise LookupError(f"{page} has no pair {pair!r}; it has {sorted(known)}")
    return known[pair]


def incorrect(page: str, pair: str) -> ModuleType:
    """Load the incorrect half of a pair, for a test of what it leaves behind."""
    return load(pair_of(page, pair).incorrect)


def correct(page: str, pair: str) -> ModuleType:
    """Load the correct half of a pair."""
    return load(pair_of(page, pair).correct)


def proves(page: str, pair: str, *, limit: float = 10) -> Callable[[Callable[..., Any]], Any]:
    """Judge both halves of a pair, and the correct one emptied, by one observation.

    The observation takes `half` (the loaded block) and any fixtures, drives the normal path
    first, and returns whether the symptom shows. `limit` is in seconds; an async observation
    gets an event loop of its own.
    """

    def decorate(observe: Callable[..., Any]) -> Any:
        def test(verdict: str, **fixtures: Any) -> None:
            complaint = judge(observe, pair_of(page, pair), verdict, limit, **fixtures)
            if complaint:
                pytest.fail(complaint, pytrace=False)

        # What a wrong half leaves behind (tasks, sockets) is its own fault, not the test's.
        untidy = pytest.mark.filterwarnings("ignore")
        verdicts = [
            pytest.param("incorrect", marks=untidy),
            "correct",
            pytest.param("hollow", marks=untidy),
        ]
        collected = _collected(test, observe, half="verdict")
        return pytest.mark.parametrize("verdict", verdicts)(collected)

    return decorate


def confirms(page: str, *claims: str, limit: float = 10) -> Callable[[Callable[..., Any]], Any]:
    """Mark a test as confirming claims: bullets under Traps or Versions, by their bold lead."""

    def decorate(confirm: Callable[..., Any]) -> Any:
        def test(**fixtures: Any) -> None:
            known = {claim.slug for claim in pages()[page].claims}
            assert not set(claims) - known, f"{page} claims {sorted(known)}"
            run(confirm, limit, **fixtures)

        return _collected(test, confirm)

    return decorate


def _collected(test: Any, original: Callable[..., Any], **renamed: str) -> Any:
    """Give `test` the name, place and parameters of `original`, and let pytest collect it."""
    functools.update_wrapper(test, original)
    signature = inspect.signature(original)
    test.__signature__ = signature.replace(
        parameters=[
            parameter.replace(name=renamed.get(name, name))
            for name, parameter in signature.parameters.items()
        ]
    )
    test.__test__ = True
    return test
