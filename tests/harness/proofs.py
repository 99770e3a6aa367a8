"""The three ways a test speaks about a rule: it proves a pair, confirms a claim, produces a symptom."""

import asyncio
import functools
import gc
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rulebook.load import load
from rulebook.model import Half, Page, Pair
from rulebook.parse import read_page, read_rules
from tests.harness.hollow import hollow

ROOT = Path(__file__).parents[2]
VERDICTS = ("incorrect", "correct", "hollow")
HOLLOW_LIMIT = 3.0


@functools.cache
def pages() -> dict[str, Page]:
    """Every rule by id, and SKILL.md as `SKILL`."""
    rules, _ = read_rules(ROOT)
    skill, _ = read_page(ROOT / "SKILL.md", ROOT) if (ROOT / "SKILL.md").exists() else (None, [])
    return rules | ({skill.id: skill} if skill else {})


def pair_of(page: str, pair: str) -> Pair:
    """Look up a pair. Raises LookupError naming the ones there are."""
    if page not in pages():
        raise LookupError(f"no page {page!r}; there are {sorted(pages())}")
    known = {each.slug: each for each in pages()[page].pairs}
    if pair not in known:
        raise LookupError(f"{page} has no pair {pair!r}; it has {sorted(known)}")
    return known[pair]


def incorrect(page: str, pair: str) -> ModuleType:
    """Load the incorrect half of a pair, for a test that needs what it leaves behind."""
    return load(pair_of(page, pair).incorrect)


def correct(page: str, pair: str) -> ModuleType:
    """Load the correct half of a pair."""
    return load(pair_of(page, pair).correct)


def proves(page: str, pair: str, *, limit: float = 10) -> Callable[[Callable[..., Any]], Any]:
    """Judge both halves of a pair by one observation.

    The observation takes `half` (the loaded block) and any fixtures, drives the normal path
    first, and returns whether the symptom shows: True for the incorrect half, False for the
    correct one. It also runs on the correct half with every function emptied, where it must not
    return False. `limit` is in seconds. An async observation gets a loop of its own.
    """

    def decorate(observe: Callable[..., Any]) -> Any:
        def test(verdict: str, **fixtures: Any) -> None:
            found = pair_of(page, pair)
            if verdict == "hollow":
                _judge_hollow(observe, found.correct, min(limit, HOLLOW_LIMIT), fixtures)
                return
            half = found.incorrect if verdict == "incorrect" else found.correct
            try:
                shows = _run(observe, limit, half=load(half), **fixtures)
            finally:
                if verdict == "incorrect":
                    gc.collect()
            _judge(shows, half)

        marks = [] if _is_careful(observe) else []
        signature = inspect.signature(observe)
        parameters = [
            parameter.replace(name="verdict") if name == "half" else parameter
            for name, parameter in signature.parameters.items()
        ]
        test.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return _collected(test, observe, pytest.mark.parametrize("verdict", [
            # What a wrong half leaves behind (tasks, sockets) is its fault, not the test's.
            pytest.param("incorrect", marks=pytest.mark.filterwarnings("ignore")),
            pytest.param("correct"),
            pytest.param("hollow", marks=pytest.mark.filterwarnings("ignore")),
        ]))

    return decorate
