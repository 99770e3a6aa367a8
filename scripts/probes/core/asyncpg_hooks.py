"""Hooks on asyncpg's classes, for applications that use it without SQLAlchemy.

What SQLAlchemy's own dialect asks of asyncpg is passed on unseen: database.py has seen it.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from .database import SECRET, WRITES, Seen
from .places import belongs, here, task_id
from .trace import CURRENT, Hold, Trace
from .wrapping import hooked

RESETS = ("reset", "_reset")  # what cleans a connection that goes back to its pool


@contextmanager
def watched(allowed: Callable[[str], bool], seen: Seen) -> Iterator[None]:
    """Wrap what sends, acquires and connects while the block runs. Does nothing without asyncpg."""
    try:
        from asyncpg import connect_utils, connection, cursor, exceptions, pool, prepared_stmt
    except ImportError:
        yield
        return
    hooks = _Hooks(allowed, seen, exceptions)
    wrapped = [
        (connect_utils, "_connect_addr", hooks.connects),
        (connection.Connection, "execute", hooks.script),
        (connection.Connection, "_execute", hooks.query),
        (connection.Connection, "_executemany", hooks.query),
        (prepared_stmt.PreparedStatement, "_PreparedStatement__do_execute", hooks.prepared),
        (cursor.BaseCursor, "_bind_exec", hooks.prepared),
        (pool.Pool, "_acquire", hooks.acquires),
        (pool.Pool, "release", hooks.releases),
    ]
    with hooked(wrapped):
        yield


def _caller() -> tuple[str, str]:
    """File and function of what called asyncpg, and `reset` where its pool did."""
    frame = sys._getframe(2)
    while frame is not None:
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        if file != __file__ and (not belongs(file, "asyncpg") or function in RESETS):
            return file, function
        frame = frame.f_back
    return "", ""


def _unasked() -> bool:
    file, function = _caller()
    return belongs(file, "sqlalchemy") or (belongs(file, "asyncpg") and function in RESETS)


class _Hooks:
    def __init__(self, allowed: Callable[[str], bool], seen: Seen, exceptions: Any) -> None:
        self.allowed, self.seen, self.exceptions = allowed, seen, exceptions
        self.held: WeakKeyDictionary[Any, tuple[Trace | None, Hold]] = WeakKeyDictionary()

    def connects(self, original: Any) -> Any:
        async def connect(*, addr: Any, **options: Any) -> Any:
            if _unasked():
                return await original(addr=addr, **options)
            host = addr[0] if isinstance(addr, tuple) else ""
            if not self.allowed(host):
                self.seen.refused.add(host)
                raise ConnectionRefusedError(f"refused by the probe: {host}")
            self.seen.connects += 1
            trace = CURRENT.get()
            if trace is not None:
                with trace.opens(trace.where(here())[0]):
                    await self._fail(trace, "CannotConnectNowError")
            return await original(addr=addr, **options)

        return connect

    def script(self, original: Any) -> Any:
        async def execute(connection: Any, query: str, *arguments: Any, **options: Any) -> Any:
            # With arguments it ends in `_execute`, which counts it.
            if arguments or _unasked():
                return await original(connection, query, *arguments, **options)
            limit = options.get("timeout")
            return await self._sent(
                connection, query, (), lambda: original(connection, query, **options), limit
            )

        return execute

    def query(self, original: Any) -> Any:
        async def execute(connection: Any, query: str, values: Any, *rest: Any, **more: Any) -> Any:
            if _unasked():
                return await original(connection, query, values, *rest, **more)
            return await self._sent(
                connection,
                query,
                values,
                lambda: original(connection, query, values, *rest, **more),
                rest[-1] if rest else more.get("timeout"),
            )

        return execute

    def prepared(self, original: Any) -> Any:
        async def execute(statement: Any, *arguments: Any) -> Any:
            if _unasked():
                return await original(statement, *arguments)
            return await self._sent(
                statement._connection, statement._query, (), lambda: original(statement, *arguments)
            )

        return execute

    def acquires(self, original: Any) -> Any:
        async def acquire(pool: Any, *arguments: Any, **options: Any) -> Any:
            trace = CURRENT.get()
            place = trace.where(here())[0] if trace is not None else ""
            proxy = await original(pool, *arguments, **options)
            if trace is not None:
                hold = Hold(place, task_id(), open=False, pool=id(pool))
                trace.takes(hold)
                self.held[proxy._con] = (trace, hold)
            return proxy

        return acquire

    def releases(self, original: Any) -> Any:
        async def release(pool: Any, connection: Any, **options: Any) -> Any:
            raw = getattr(connection, "_con", None)  # None once it was released
            trace, hold = self.held.pop(raw, (None, None)) if raw is not None else (None, None)
            if trace is not None and hold is not None:
                hold.busy("its return")
                trace.out.remove(hold)
            return await original(pool, connection, **options)

        return release

    async def _sent(
        self,
        connection: Any,
        query: str,
        values: Any,
        send: Callable[[], Any],
        limit: float | None = None,
    ) -> Any:
        trace, hold = CURRENT.get(), self.held.setdefault(connection, (None, Hold("?", 0)))[1]
        if trace is None:
            self.seen.alone += 1
            return await send()
        place, _frames = trace.where(here())
        word = query.split(None, 1)[0].rstrip(";").upper() if query.strip() else ""
        control = word in ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "START", "END")
        hold.busy(word if control else f"the statement at {place}")
        if not control:
            trace.sends()
            limit = limit or connection._config.command_timeout
            await self._fail(trace, "ConnectionDoesNotExistError", limit)
        writes = bool(WRITES.match(query))
        alone = writes and not connection.is_in_transaction()
        if alone or (hold.wrote and word in ("COMMIT", "END")):
            hold.wrote = False
            if trace.commits_at(place, here()):
                await self._refuse(connection, alone)
        elif hold.wrote and word == "ROLLBACK" and " TO " not in query.upper():
            hold.wrote = False
            trace.rolls_back(here())
        try:
            result = await send()
        except self.exceptions.PostgresError:
            trace.failed += 1
            raise
        hold.wrote = hold.wrote or (writes and not alone)
        if not control and not writes:
            trace.note_read(query, values, place)
            trace.rows = max(trace.rows, len(result) if isinstance(result, list) else 0)
        hold.rest(open=connection.is_in_transaction())
        return result

    async def _refuse(self, connection: Any, alone: bool) -> None:
        if not alone:
            await connection._protocol.query("ROLLBACK", None)
        raise self.exceptions.CheckViolationError("refused by the probe at COMMIT")

    async def _fail(self, trace: Trace, name: str, limit: float | None = None) -> None:
        if trace.fail == "silence":
            await asyncio.sleep(limit or 3600)
            raise TimeoutError
        if trace.fail:
            raise getattr(self.exceptions, name)(SECRET)
