"""Probe an application in this process, as scripts/probe.py does."""

import asyncio
import functools
import gc
import os
from collections.abc import Callable
from typing import Any

from tests.harness import ROOT
from tests.observers.shipped import script, shipped

EVERY = set(script.IN_PROCESS) - {"restart"}  # which spoils the connections of what comes after


places, session, verdict = (shipped(f"core.{name}") for name in ("places", "session", "verdict"))
Verdict = verdict.Verdict
read_request = shipped("core.requests").read_request
Limits = shipped("core.run").Limits


def probed(
    app: Any,
    *requests: str,
    wanted: set[str] | str = "",
    ready: str | None = None,
    live: str | None = None,
    setup: Callable[..., Any] | None = None,
    **options: Any,
) -> list[Any]:
    """The verdicts on an application and `METHOD PATH [BODY]` requests, on a loop of its own.

    `wanted` names probes, separated by spaces; by default they are all that need no server.
    `headers` go with each request; what is left goes to the plan.
    """
    headers = options.pop("headers", {})
    names = set(wanted.split()) if isinstance(wanted, str) else wanted
    plan = session.Plan(
        requests=[read_request(each, headers) for each in requests],
        wanted=names or EVERY,
        ready=read_request(f"GET {ready}", headers) if ready else None,
        live=read_request(f"GET {live}", headers) if live else None,
        setup=setup,
        folder=ROOT,
        freeze=False,
        **options,
    )
    _freeze_once()
    loop = asyncio.SelectorEventLoop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(session.examine(app, plan))
    finally:
        loop.run_until_complete(_end_tasks())
        asyncio.set_event_loop(None)
        loop.close()


@functools.cache
def _freeze_once() -> None:
    """Keep what the tests imported from the collector, which would walk through it each time."""
    gc.collect()
    gc.freeze()


async def _end_tasks(limit: float = 1) -> None:
    """Cancel what is left, and wait no longer than `limit` for what swallows that."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=limit)
    await asyncio.get_running_loop().shutdown_asyncgens()
    gc.collect()  # what nobody closed is closed while there is a loop to do so
    await asyncio.sleep(0.01)


def found(verdicts: list[Any]) -> set[str]:
    """The probes that found something."""
    return {each.probe for each in verdicts if each.verdict == "found"}


def traps(verdicts: list[Any]) -> set[str]:
    """The traps of what was found."""
    return {each.trap for each in verdicts if each.verdict == "found"}


def judged(verdicts: list[Any], probe: str) -> set[str]:
    """What one probe said: ok, found, cannot-tell, or several of these."""
    return {each.verdict for each in verdicts if each.probe == probe}


def told(verdicts: list[Any], probe: str) -> str:
    """All that one probe says, with its evidence, for a test of the words."""
    mine = [each for each in verdicts if each.probe == probe]
    return "\n".join(os.linesep.join([each.says, *each.evidence]) for each in mine)
