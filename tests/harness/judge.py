"""One observation, judged on a half: does the symptom show where it should?"""

import asyncio
import gc
import inspect
from collections.abc import Callable
from typing import Any

from rulebook.load import load
from rulebook.model import Pair
from tests.harness.hollow import hollow
from tests.harness.seen import keep

HOLLOW_LIMIT = 3.0


class UndecidedError(Exception):
    """The observation did not answer with True or False in time."""


def run(
    test: Callable[..., Any],
    limit: float,
    values: dict[str, Any] | None = None,
    **arguments: Any,
) -> Any:
    """Call a test, in a fresh event loop if it is async, for at most `limit` seconds.

    `values` is given the local values with which an async one returns.
    """
    if not inspect.iscoroutinefunction(test):
        return test(**arguments)

    async def bounded() -> Any:
        timer = asyncio.timeout(limit)
        coroutine = test(**arguments)
        frame = coroutine.cr_frame
        try:
            async with timer:
                returned = await coroutine
        except TimeoutError as error:
            if timer.expired():
                raise UndecidedError(f"no answer within {limit:g} s") from error
            raise
        if values is not None:
            values.update(frame.f_locals)
        return returned

    return asyncio.run(bounded())


def judge(
    observe: Callable[..., Any], pair: Pair, verdict: str, limit: float = 10, **fixtures: Any
) -> str | None:
    """Return the complaint about this pair and this observation, or None when they agree.

    `verdict` is incorrect (the symptom must show), correct (it must not) or hollow: the correct
    half with every function emptied, on which the observation must not find all well.
    """
    if verdict == "hollow":
        half = pair.correct
        tree = hollow(half.block.code, half.block.line)
        try:
            shows = run(observe, min(limit, HOLLOW_LIMIT), half=load(half, tree), **fixtures)
        except Exception:
            return None
        finally:
            gc.collect()
        if shows is False:
            return f"{half.place}: a half that does nothing passes; drive the normal path first"
        return None
    half = pair.incorrect if verdict == "incorrect" else pair.correct
    values: dict[str, Any] = {}
    try:
        shows = run(observe, limit, values, half=load(half), **fixtures)
    finally:
        if verdict == "incorrect":
            gc.collect()
    if not isinstance(shows, bool):
        return f"{half.place}: the observation returned {shows!r}, not True or False"
    if shows is (verdict == "incorrect"):
        keep(half, values)
        return None
    if shows:
        return f"{half.place}: the correct half shows the symptom: {pair.incorrect.claim}"
    return f"{half.place}: the incorrect half does not show the symptom: {half.claim}"
