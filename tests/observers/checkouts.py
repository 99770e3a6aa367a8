"""Watch an engine's pool: who waits, how long connections are held, and which code holds them."""

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import greenlet
import sqlalchemy
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

LIBRARY = str(Path(sqlalchemy.__file__).parent)


@dataclass
class Checkouts:
    """What happened to one pool since the watch began; times are in seconds."""

    taken: int = 0  # connections handed out
    queued: int = 0  # requests for one that found the pool full
    waiting: int = 0  # of those, the ones in the queue now
    in_use: int = 0
    holds: list[float] = field(default_factory=list)  # one for each connection that came back
    held: dict[Any, str] = field(default_factory=dict)  # for each one out, the code that took it


@contextmanager
def checkouts(engine: AsyncEngine) -> Iterator[Checkouts]:
    """Watch the pool the engine has now; `dispose()` gives it another one.

    Raises TypeError when the engine's pool keeps no queue, as NullPool and StaticPool do.
    """
    pool = engine.pool
    if not isinstance(pool, QueuePool):
        raise TypeError(f"{type(pool).__name__} has no queue to watch")
    seen = Checkouts()
    since: dict[Any, float] = {}
    capacity = pool.size() + pool._max_overflow  # which no public name tells
    connect = pool.connect

    def counted() -> Any:
        full = pool.checkedout() >= capacity
        seen.queued += full
        seen.waiting += full
        try:
            return connect()
        finally:
            seen.waiting -= full

    def checkout(_: Any, entry: Any, proxy: Any) -> None:
        seen.taken += 1
        seen.in_use += 1
        seen.held[entry] = _caller()
        since[entry] = time.perf_counter()

    def checkin(_: Any, entry: Any) -> None:
        # A connection that was out before the watch, or whose checkout failed, is in no account.
        if entry in since:
            seen.in_use -= 1
            seen.holds.append(time.perf_counter() - since.pop(entry))
            del seen.held[entry]

    pool.connect = counted  # type: ignore[method-assign]
    event.listen(pool, "checkout", checkout)
    event.listen(pool, "checkin", checkin)
    try:
        yield seen
    finally:
        del pool.connect
        event.remove(pool, "checkout", checkout)
        event.remove(pool, "checkin", checkin)


def _caller() -> str:
    """Where the running code entered SQLAlchemy, as `file:line in function`.

    Under an AsyncEngine SQLAlchemy runs in a greenlet; the code that awaits it is in the parent.
    """
    parent = greenlet.getcurrent().parent
    frames = traceback.walk_stack(parent.gr_frame if parent else None)
    for frame, line in frames:
        code = frame.f_code
        if not code.co_filename.startswith(LIBRARY):
            return f"{code.co_filename}:{line} in {code.co_name}"
    return "unknown"
