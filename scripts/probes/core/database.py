"""Hooks on SQLAlchemy's classes: engines made before and after are seen, none has to be named.

A hook never raises by accident: in a listener that would break the application's own work.
"""

import asyncio
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from .places import here, task_id
from .trace import CURRENT, Hold, Trace

WRITES = re.compile(r"\s*(insert|update|delete|merge|copy|create|alter|drop|truncate)\b", re.I)
SECRET = "probe-secret postgresql://probe:hunter2@db.example/probe"  # noqa: S105 - nobody's


@dataclass
class Seen:
    """What the application does with databases, also outside of requests."""

    refused: set[str] = field(default_factory=set)  # hosts that it was not let reach
    connects: int = 0
    alone: int = 0  # statements that no request asked for


def failure(dialect: Any, name: str, text: str) -> Exception:
    """An error of the dialect's own driver, which SQLAlchemy wraps as it wraps real ones."""
    error: Exception = getattr(dialect.loaded_dbapi, name)(text)
    for attribute in ("sqlstate", "pgcode"):
        with suppress(AttributeError, TypeError):
            setattr(error, attribute, "23514")
    return error


@contextmanager
def watched(allowed: Callable[[str], bool], seen: Seen) -> Iterator[None]:
    """Listen while the block runs. `allowed` says whether a database host may be connected to.

    Does nothing without SQLAlchemy.
    """
    try:
        from sqlalchemy import event
        from sqlalchemy.engine import Engine
        from sqlalchemy.pool import Pool
    except ImportError:
        yield
        return
    listener = _Listener(allowed, seen, threading.get_ident())
    heard = [
        (Engine, "do_connect", listener.connects),
        (Engine, "do_execute", listener.executes),
        (Engine, "do_executemany", listener.executes),
        (Engine, "before_cursor_execute", listener.before),
        (Engine, "after_cursor_execute", listener.after),
        (Engine, "handle_error", listener.fails),
        (Engine, "rollback", listener.rolls_back),
        (Engine, "commit", listener.commits),
        (Pool, "checkout", listener.taken),
        (Pool, "checkin", listener.returned),
        (Pool, "detach", listener.collected),
    ]
    for target, name, function in heard:
        event.listen(target, name, function)
    try:
        yield
    finally:
        for target, name, function in heard:
            event.remove(target, name, function)


class _Listener:
    def __init__(self, allowed: Callable[[str], bool], seen: Seen, loop: int) -> None:
        self.allowed, self.seen, self.loop = allowed, seen, loop

    def connects(self, dialect: Any, record: Any, arguments: Any, options: Any) -> None:
        for host in hosts(options, postgresql=dialect.name == "postgresql"):
            if not self.allowed(host):
                self.seen.refused.add(host)
                raise failure(dialect, "OperationalError", f"refused by the probe: {host}")
        self.seen.connects += 1
        trace = CURRENT.get()
        if trace is not None:
            with trace.opens(trace.where(here())[0]):
                _fail(trace, dialect, _limit_of_connect(dialect, options))

    def executes(self, cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        trace = CURRENT.get()
        if trace is not None:
            config = getattr(getattr(cursor, "_connection", None), "_config", None)
            _fail(trace, context.dialect, getattr(config, "command_timeout", None))

    def taken(self, connection: Any, record: Any, proxy: Any) -> None:
        trace = CURRENT.get()
        if trace is None:
            return
        pool = getattr(record, "_ConnectionRecord__pool", None)
        pooled = type(pool).__name__ != "NullPool"
        hold = Hold(trace.where(here())[0], task_id(), pooled=pooled, pool=id(pool))
        trace.takes(hold)
        record.info.setdefault("probe", []).append((trace, hold))

    def returned(self, connection: Any, record: Any) -> None:
        self._back(record, collected=False)

    def collected(self, connection: Any, record: Any) -> None:
        self._back(record, collected=True)  # `detach` is how the garbage collector gives one back

    def _back(self, record: Any, *, collected: bool) -> None:
        held = record.info.get("probe")
        if held:
            trace, hold = held.pop()
            hold.busy("its return")
            trace.out.remove(hold)
            if collected:
                trace.collected.append(hold.taken)

    def before(self, conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        trace = CURRENT.get()
        if trace is None:
            self.seen.alone += 1
            return
        place, _frames = trace.where(here())
        _held(conn).busy(f"the statement at {place}")
        trace.sends()
        if not conn.dialect.is_async and threading.get_ident() == self.loop:
            trace.blocking[f"a statement of a synchronous driver at {place}"] += 1

    def after(
        self, conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        trace = CURRENT.get()
        if trace is None:
            return
        hold, alone = _held(conn), conn._is_autocommit_isolation()
        hold.rest(open=not alone)
        wrote = context.isinsert or context.isupdate or context.isdelete or WRITES.match(statement)
        if wrote:
            hold.wrote = not alone  # else it is stored, and no ROLLBACK takes it back
        else:
            place, _frames = trace.where(here())
            trace.note_read(statement, parameters, place)
            # aiosqlite's and asyncpg's adapters keep the rows, and have no count of a SELECT's.
            trace.rows = max(trace.rows, cursor.rowcount or 0, len(getattr(cursor, "_rows", ())))

    def fails(self, context: Any) -> None:
        trace = CURRENT.get()
        if trace is not None:
            trace.failed += 1

    def rolls_back(self, conn: Any) -> None:
        trace, hold = CURRENT.get(), _held(conn)
        hold.busy("ROLLBACK")
        if trace is not None and hold.wrote:
            trace.rolls_back(here())
        hold.wrote = False

    def commits(self, conn: Any) -> None:
        trace, hold = CURRENT.get(), _held(conn)
        hold.busy("COMMIT")
        wrote, hold.wrote = hold.wrote, False
        if trace is None or not wrote:
            return
        place, frames = trace.where(here())
        if trace.commits_at(place, frames):
            _refuse_commit(conn.dialect)


def hosts(options: dict[str, Any], *, postgresql: bool = True) -> list[str]:
    """The hosts of a connect, but for sockets in the file system."""
    asked = options.get("hostaddr") or options.get("host")
    if not asked and postgresql:
        asked = os.environ.get("PGHOST")  # as libpq does, which connects unseen by audit hooks
    several = asked if isinstance(asked, list | tuple) else str(asked or "").split(",")
    return [host for host in map(str, several) if host and not host.startswith("/")]


def _held(conn: Any) -> Hold:
    """The hold of a connection; one that counts nowhere where there is none.

    `info` of an invalidated connection raises, and would break the application's rollback.
    """
    held = None if conn.closed or conn.invalidated else conn.info.get("probe")
    return held[-1][1] if held else Hold("?", 0)


def _refuse_commit(dialect: Any) -> None:
    """Turn the next COMMIT into a ROLLBACK and an error.

    The `commit` event is outside the block in which SQLAlchemy wraps its driver's errors, so the
    dialect's method is replaced, for one call.
    """

    def refuse(connection: Any) -> None:
        del dialect.do_commit
        dialect.do_rollback(connection)
        raise failure(dialect, "IntegrityError", "refused by the probe at COMMIT")

    dialect.do_commit = refuse


def _limit_of_connect(dialect: Any, options: dict[str, Any]) -> float | None:
    """Seconds that the driver itself waits for an answer; SQLite's are those for a lock."""
    limit = options.get("timeout") or options.get("connect_timeout")
    return float(limit) if limit and dialect.name != "sqlite" else None


def _fail(trace: Trace, dialect: Any, limit: float | None) -> None:
    """Fail, or be silent for as long as the driver would wait: `limit` is its own patience."""
    if trace.fail == "silence":
        if dialect.is_async:
            _await(asyncio.sleep(limit or 3600))
        elif task_id() == threading.get_ident():  # no loop runs in this thread
            trace.over.wait(limit or 60)
        else:
            trace.audible = True
        if limit and dialect.driver == "asyncpg":
            raise TimeoutError
    if trace.fail:
        raise failure(dialect, "OperationalError", SECRET)


def _await(awaitable: Any) -> Any:
    try:
        from sqlalchemy.util.concurrency import await_
    except ImportError:  # 2.0
        from sqlalchemy.util import await_only as await_
    return await_(awaitable)
