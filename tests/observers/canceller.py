"""Cancel a running coroutine at each of its suspension points, one run per point.

A cancel is delivered while the coroutine waits, as `Task.cancel()` does it, so what it awaits is
cancelled too. Only the coroutine's own suspensions count, not those of tasks it starts.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any


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
    counted = _Counted(coroutine, points)
    task = asyncio.create_task(_awaiting(counted))
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


class _Counted:
    """An awaitable that cancels the current task at chosen suspensions."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], points: tuple[int, ...]) -> None:
        self.suspensions = 0
        self._coroutine = coroutine
        self._points = points

    def __await__(self) -> Generator[Any, Any, Any]:
        step = self._coroutine.send
        value: Any = None
        while True:
            try:
                waited_for = step(value)
            except StopIteration as stop:
                return stop.value
            self.suspensions += 1
            if self.suspensions in self._points:
                task = asyncio.current_task()
                if task is not None:
                    # Before the suspension reaches the task, which then cancels what it waits for.
                    task.cancel()
            try:
                value, step = (yield waited_for), self._coroutine.send
            except BaseException as error:
                value, step = error, self._coroutine.throw


async def _awaiting(awaitable: _Counted) -> Any:
    return await awaitable
