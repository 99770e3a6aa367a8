"""The database goes away and comes back: which requests fail after it?"""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .core.run import Run
from .core.trace import Trace
from .core.verdict import CANNOT_TELL, FOUND, OK, Verdict

TRAP = "pooling/database#one-engine-in-the-lifespan"
REQUESTS = 10  # sent after it, at most
STEADY = 3  # answers in a row that mean it has recovered


async def look(run: Run) -> list[Verdict]:
    """End each idle connection of the pools that the request uses, by its own socket."""
    if not run.trace.holds:
        why = "no connection was taken from a pool of SQLAlchemy's"
        return [Verdict("restart", CANNOT_TELL, why)]
    if all(trace.connects for trace in run.traces):
        why = "each request opens its connections anew: none is kept that could be lost"
        return [Verdict("restart", CANNOT_TELL, why)]
    with _pools_used() as pools:
        await run.again(Trace())
    drivers = [driver for pool in pools.values() for driver in _idle(pool)]
    ended = sum(map(_end, drivers))
    if not ended:
        return [Verdict("restart", CANNOT_TELL, _why_none(list(pools.values())))]
    await asyncio.sleep(0.05)  # a driver that watches its socket notices, as it does in a restart
    return [await _after(run, ended)]


async def _after(run: Run, ended: int) -> Verdict:
    failed: list[bool] = []
    told: list[str] = []
    while len(failed) < REQUESTS and (len(failed) < STEADY or any(failed[-STEADY:])):
        answer = await run.again(Trace())
        failed.append(answer.stuck or answer.told >= 500 or not (answer.complete or answer.left))
        whole = answer.complete or answer.left or not answer.status
        cut = "" if whole else ", cut off"
        told.append("not at all" if answer.stuck else f"{answer.told}{cut}")
        if answer.stuck:
            break
    noun = "connection was" if ended == 1 else "connections were"
    what = f"{ended} idle {noun} closed, as a restart of the database does"
    if not any(failed):
        return Verdict("restart", OK, f"{what}: no request failed")
    says = f"{what}: {sum(failed)} of the next {len(failed)} requests failed"
    again = "it recovers by itself" if not failed[-1] else "it does not recover by itself"
    return Verdict("restart", FOUND, says, [f"answered {', '.join(told)}", again], TRAP)


def _why_none(pools: list[Any]) -> str:
    if not pools:
        return "it uses no pool of SQLAlchemy's, and connections of others are not known here"
    names = sorted({pool._dialect.name for pool in pools})
    if names == ["sqlite"]:
        return "SQLite has no connection that a restart could close"
    return f"no idle connection's socket is known ({', '.join(names)})"


@contextmanager
def _pools_used() -> Iterator[dict[int, Any]]:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    pools: dict[int, Any] = {}

    def connected(conn: Any, *_: Any) -> None:  # 1.4 says whether it is a branch, too
        pools[id(conn.engine.pool)] = conn.engine.pool

    event.listen(Engine, "engine_connect", connected)
    try:
        yield pools
    finally:
        event.remove(Engine, "engine_connect", connected)


def _idle(pool: Any) -> list[Any]:
    """The drivers' connections that wait in a pool.

    SQLAlchemy counts them and names none: its queue holds a deque, or asyncio's queue of one.
    """
    queue = getattr(pool, "_pool", None)
    for name in ("queue", "_queue", "_queue"):
        queue = getattr(queue, name, queue)
    try:
        records = list(queue or ())
    except TypeError:
        return []
    return [record.driver_connection for record in records if record.dbapi_connection is not None]


def _end(driver: Any) -> bool:
    """Close the socket under a connection of asyncpg, aiomysql, psycopg, psycopg2 or PyMySQL."""
    transport = getattr(driver, "_transport", None)
    transport = transport or getattr(getattr(driver, "_writer", None), "transport", None)
    if transport is not None:
        transport.abort()
        return True
    for each in (driver, getattr(driver, "_sock", None)):
        number = getattr(each, "fileno", None)
        if number is not None:
            try:
                with socket.socket(fileno=os.dup(number())) as twin:
                    twin.shutdown(socket.SHUT_RDWR)
            except Exception:  # a driver's own error: it is closed already
                return False
            return True
    return False
