"""Wait for something to happen without sleeping, and give up early when it no longer can."""

import asyncio
from collections.abc import Callable
from typing import Any


async def reached(event: asyncio.Event, *tasks: asyncio.Task[Any], limit: float = 5) -> None:
    """Wait until `event` is set.

    Raises AssertionError when one of `tasks` ends first, or after `limit` seconds.
    """
    waiter = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({waiter, *tasks}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        assert event.is_set(), "the point waited for was never reached"
    finally:
        waiter.cancel()


async def until(condition: Callable[[], bool], limit: float = 5) -> bool:
    """Poll a condition that nothing announces; return whether it came true in `limit` seconds."""
    try:
        async with asyncio.timeout(limit):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        return condition()
    return True


async def turns(count: int = 5) -> None:
    """Let every other task run for `count` turns of the loop, without a timer."""
    for _ in range(count):
        await asyncio.sleep(0)
