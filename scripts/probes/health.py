"""Liveness and readiness while the database refuses, and while it is silent."""

import asyncio
import time
from typing import Any

from .core.client import Answer, send
from .core.database import SECRET, Seen
from .core.requests import Request
from .core.run import collect
from .core.trace import Trace
from .core.verdict import CANNOT_TELL, FOUND, OK, Verdict

CROWD = 8  # probes at once
ANSWERS = "fastapi/lifespan#readiness-that-answers"
UNSEEN = "it asks nothing itself, and something else of the application's asks the database"
AUDIBLE = "its synchronous driver runs on the loop's thread, which would stand still with it"
HANGS = "fastapi/lifespan#probes-that-hang"


async def look(app: Any, state: dict[str, Any], plan: Any, seen: Seen) -> list[Verdict]:
    """What each of the two paths says in each of the two failures."""
    found = []
    paths = (("ready", plan.ready, plan.limits.ready), ("live", plan.live, plan.limits.live))
    for name, request, limit in paths:
        if request is None:
            continue
        plain = await send(app, state, request, Trace(), limit=limit)
        if plain.told >= 400 or plain.stuck:
            why = f"{_said(plain, limit)} while all is well"
            found.append(Verdict("health", CANNOT_TELL, why, [], "", request.label))
            continue
        for failure in ("error", "silence"):
            found.append(await _told(app, state, name, request, failure, limit, seen))
        if name == "ready":
            found.append(await _crowd(app, state, request, limit, seen))
    return found


async def _told(
    app: Any,
    state: dict[str, Any],
    name: str,
    request: Request,
    failure: str,
    limit: float,
    seen: Seen,
) -> Verdict:
    trace = Trace(fail=failure)
    answer = await send(app, state, request, trace, limit=limit)
    told = _said(answer, limit)
    asked, unseen = _asked(trace), _unseen(seen)
    collect(trace, answer)
    does = "refuses" if failure == "error" else "is silent"
    what = f"{told} while the database {does}"
    evidence = [] if asked or name == "live" else ["it asked the database nothing"]
    if name == "live" and asked:
        evidence.append("it asked the database")
    if trace.audible:
        return Verdict(
            "health", CANNOT_TELL, f"while the database {does}: {AUDIBLE}", [], "", request.label
        )
    if name == "ready" and not asked and answer.told < 400 and unseen:
        return Verdict("health", CANNOT_TELL, f"{what}: {unseen}", [], "", request.label)
    if SECRET in answer.text:
        return _verdict(request, f"{what}, with the error's text", [answer.text[:150]], ANSWERS)
    if answer.stuck:
        return _verdict(request, what, evidence, HANGS)
    if (answer.told < 400) != (name == "live"):
        return _verdict(request, what, evidence, ANSWERS if name == "ready" else HANGS)
    return Verdict("health", OK, what, [], "", request.label)


async def _crowd(
    app: Any, state: dict[str, Any], request: Request, limit: float, seen: Seen
) -> Verdict:
    """Several probes at once, of a database that is silent: how many connections do they take?"""
    traces = [Trace(fail="silence") for _ in range(CROWD)]
    begun = time.perf_counter()
    counting = asyncio.ensure_future(_most_at_once(traces))
    await asyncio.gather(*(send(app, state, request, trace, limit=limit) for trace in traces))
    counting.cancel()
    taken = (await asyncio.gather(counting))[0]
    seconds = time.perf_counter() - begun
    for trace in traces:
        trace.main = None
    if any(trace.audible for trace in traces):
        return Verdict("health", CANNOT_TELL, AUDIBLE, [], "", request.label)
    unseen = _unseen(seen)
    if unseen and not any(map(_asked, traces)):
        why = f"{CROWD} probes at once: {unseen}"
        return Verdict("health", CANNOT_TELL, why, [], "", request.label)
    if taken > CROWD // 2:
        says = f"{CROWD} probes at once take {taken} connections while the database is silent"
        return _verdict(request, says, [f"answered in {seconds:.1f} s"], HANGS)
    return Verdict(
        "health", OK, f"{CROWD} probes at once take {taken} connections", [], "", request.label
    )


async def _most_at_once(traces: list[Trace]) -> int:
    """The most connections that were out or being opened at one time, until cancelled."""
    most = 0
    try:
        while True:  # a cancellation makes it return
            most = max(most, sum(len(trace.out) + trace.opening for trace in traces))
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        return most


def _asked(trace: Trace) -> bool:
    return bool(trace.statements or trace.connects or trace.holds)


def _unseen(seen: Seen) -> str:
    """Why an answer that asks no database may be about one all the same, or an empty string."""
    if seen.alone:
        return UNSEEN
    return "" if seen.connects else "no database that this sees is in use"


def _said(answer: Answer, limit: float) -> str:
    return (
        f"no answer in {limit:.0f} s"
        if answer.stuck
        else f"answered {answer.told} in {answer.seconds:.1f} s"
    )


def _verdict(request: Request, says: str, evidence: list[str], trap: str) -> Verdict:
    return Verdict("health", FOUND, says, evidence, trap, request.label)
