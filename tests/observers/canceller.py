"""Cancel a running coroutine at each of its suspension points, one run per point.

A cancel is delivered while the coroutine waits, as `Task.cancel()` does it, so what it awaits is
cancelled too. Only the coroutine's own suspensions count, not those of tasks it starts.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from tests.observers.shipped import shipped

Steps = shipped("core.tasks").Steps


@dataclass(frozen=True)
class Run:
    """One run: where it was cancelled, how often it was suspended, how it ended."""

    points: tuple[int, ...]
    suspensions: int
    result: Any = None
    error: BaseException | None = None

    @property
    def cancelled(self) -> bool:
        """The cancellation was let through."""
        return isinstance(self.error, asyncio.CancelledError)


async def cancelled_at(coroutine: Coroutine[Any, Any, Any], *points: int) -> Run:
    """Run a coroutine in a task of its own, cancelled at these suspensions (the first is 1)."""
    counted = _Points(points)
    task = asyncio.create_task(_awaiting(Steps(coroutine, counted)))
    await asyncio.wait({task})
    if task.cancelled():
        return Run(points, counted.suspensions, error=asyncio.CancelledError())
    error = task.exception()
    result = None if error else task.result()
    return Run(points, counted.suspensions, result, error)


async def each_point(
    start: Callable[[], Coroutine[Any, Any, Any]], *, limit: int = 1000
) -> AsyncIterator[Run]:
    """Yield one run per suspension, each cancelled there; `start` makes a fresh coroutine.

    Look at what a run left behind before asking for the next. Raises ValueError when nothing was
    ever suspended, so nothing could be cancelled, and after `limit` runs.
    """
    for point in range(1, limit + 1):
        run = await cancelled_at(start(), point)
        if run.suspensions < point:
            if point == 1:
                raise ValueError("the coroutine never waits, so it cannot be cancelled")
            return
        yield run
    raise ValueError(f"still suspended after {limit} runs")


class _Points:
    """Cancels the current task at chosen suspensions."""

    def __init__(self, points: tuple[int, ...]) -> None:
        self.suspensions, self.points = 0, points

    def suspends(self, _: object) -> tuple[()]:
        self.suspensions += 1
        task = asyncio.current_task()
        if self.suspensions in self.points and task is not None:
            # Before the suspension reaches the task, which then cancels what it waits for.
            task.cancel()
        return ()

    def resumes(self) -> None: ...


async def _awaiting(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
