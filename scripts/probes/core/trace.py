"""What one request did, and what is to go wrong with it."""

import asyncio
import contextvars
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from .places import Frame, belongs, caller, chain, is_user, module, place, starts, task_id

BY_NAME = ("rollback", "execute")  # functions that are called to undo what was written
CURRENT: contextvars.ContextVar["Trace | None"] = contextvars.ContextVar("probe", default=None)


@dataclass(frozen=True, order=True)
class Gap:
    """A time in which nothing ran on a connection that was out, inside a transaction."""

    seconds: float
    taken: str  # where the connection was taken
    ended: str  # what ended it
    awaited: float = 0.0  # seconds of the longest await of something else meanwhile
    awaiting: str = ""  # where that was awaited
    open: bool = True  # inside a transaction


@dataclass(eq=False)
class Hold:
    """A connection that is out of its pool."""

    taken: str
    task: int
    open: bool = True  # whether it is inside a transaction
    pooled: bool = True  # not of a NullPool, which keeps no connection
    pool: int = 0  # what tells its pool apart
    idle: float | None = None  # since when nothing runs on it
    wrote: bool = False
    gaps: list[Gap] = field(default_factory=list)
    waits: list[tuple[float, str]] = field(default_factory=list)  # of the present gap

    def busy(self, what: str) -> None:
        """Something is sent on the connection, or it goes back: the gap is over."""
        if self.idle is not None:
            awaited, awaiting = max(self.waits, default=(0.0, ""))
            seconds = time.perf_counter() - self.idle
            self.gaps.append(Gap(seconds, self.taken, what, awaited, awaiting, self.open))
        self.idle, self.waits = None, []

    def rest(self, *, open: bool = True) -> None:  # noqa: A002 - as PostgreSQL calls it
        """What was sent is answered: a gap begins, in or out of a transaction."""
        self.idle, self.open = time.perf_counter(), open


@dataclass(frozen=True)
class Started:
    """A task of the request: its name, where it was started, by whom."""

    label: str
    frames: list[Frame]
    users: bool  # the user's code started it, not a library on its own account
    apart: bool  # it, or a task that it stems from


@dataclass(frozen=True)
class Read:
    """A SELECT: its text, its parameters, the user's line."""

    sql: str
    parameters: str
    place: str
    task: int = 0  # by what ran it
    part: int = 0  # after so many parts of the answer


@dataclass(eq=False)
class Trace:
    """One request. The first fields say what shall go wrong; the others fill while it runs."""

    fail_commit: int = 0  # the number of the COMMIT to refuse
    fail_on: bool = False  # and each COMMIT after it
    fail: str = ""  # "error" or "silence": what each statement and each connect does
    cancel_at: int = 0  # cancel the request at this suspension
    leave_at: int = 0  # the client leaves at this one

    main: "asyncio.Task[Any] | None" = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # the client has its answer, or left
    over: threading.Event = field(default_factory=threading.Event)  # for what is silent in a thread
    audible: bool = False  # a synchronous driver on the loop's thread, which cannot be silenced
    began: bool = False  # http.response.start was sent
    chunks: int = 0
    suspensions: int = 0
    statements: int = 0
    early: bool = False  # whether it asked a database before the response began
    connects: int = 0
    opened: list[str] = field(default_factory=list)  # where, one for each of these connects
    opening: int = 0  # of these, connections that are being opened
    rows: int = 0  # of the longest result
    reads: list[Read] = field(default_factory=list)
    commits: list[tuple[str, str]] = field(default_factory=list)  # (place, when), of what wrote
    apart: list[str] = field(default_factory=list)  # COMMITs in tasks that outlive the response
    undone: list[str] = field(default_factory=list)  # where what was written was rolled back
    meant: set[str] = field(default_factory=set)  # of these, where the user's code says rollback()
    failed: int = 0  # statements that raised
    holds: list[Hold] = field(default_factory=list)
    out: list[Hold] = field(default_factory=list)
    nested: list[tuple[str, str]] = field(default_factory=list)  # (first, second) at once
    streamed: list[str] = field(default_factory=list)  # out between two chunks of the body
    collected: list[str] = field(default_factory=list)  # taken back by the garbage collector
    blocking: Counter[str] = field(default_factory=Counter)
    dials: Counter[str] = field(default_factory=Counter)  # connections opened, by peer and place
    undialled: set[str] = field(default_factory=set)  # where one could not be opened
    databases: set[str] = field(default_factory=set)  # those dials that a database's driver made
    tasks: "WeakKeyDictionary[asyncio.Task[Any], str]" = field(default_factory=WeakKeyDictionary)
    started: dict[int, Started] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)  # what tasks of the user's raised unseen

    def alive(self) -> list[str]:
        """The user's tasks that still run, but for the request itself."""
        return [
            label for task, label in self.tasks.items() if not task.done() and task is not self.main
        ]

    def takes(self, hold: Hold) -> None:
        """A connection leaves its pool."""
        hold.rest(open=hold.open)
        self.asks()
        mine = (hold.task, id(self.main))
        others = [each for each in self.out if each.task in mine and each.pool == hold.pool]
        self.nested += [(each.taken, hold.taken) for each in others]
        self.holds.append(hold)
        self.out.append(hold)

    def asks(self) -> None:
        """A database is asked for something."""
        self.early = self.early or not self.began

    def sends(self) -> None:
        """A statement is about to be sent."""
        self.asks()
        self.statements += 1

    def rolls_back(self, frames: list[Frame]) -> None:
        """What a transaction wrote is undone."""
        place, frames = self.where(frames)
        self.undone.append(place)
        if caller(frames) in BY_NAME:
            self.meant.add(place)

    def commits_at(self, place: str, frames: list[Frame]) -> bool:
        """A transaction that wrote is about to be committed; returns whether to refuse that."""
        self.undone.clear()  # it was repeated
        started = self.started.get(task_id())
        if self.began and started is not None and started.apart:
            self.apart.append(place)
            return False
        task = any(frame.file.endswith("starlette/background.py") for frame in frames)
        late = "in a background task" if task else "after the response began"
        self.commits.append((place, late if self.began else ""))
        number = len(self.commits)
        return number == self.fail_commit or (self.fail_on and number > self.fail_commit)

    @contextmanager
    def opens(self, place: str) -> Iterator[None]:
        """A connection to the database is being opened, at a place of the user's."""
        self.asks()
        self.connects += 1
        self.opened.append(place)
        self.opening += 1
        try:
            yield
        finally:
            self.opening -= 1

    def dialled(self, peer: Any, place: str, *, database: bool) -> None:
        """A connection was opened, at a place of the user's."""
        name = ":".join(map(str, peer[:2])) if isinstance(peer, tuple) else str(peer)
        what = f"{name}, opened at {place}"
        self.dials[what] += 1
        if database:
            self.databases.add(what)

    def note_read(self, sql: str, parameters: object, place: str) -> None:
        """A SELECT was answered."""
        self.reads.append(Read(sql, repr(parameters), place, task_id(), self.chunks))

    def where(self, frames: list[Frame]) -> tuple[str, list[Frame]]:
        """The user's place among frames, or in those that started the running task.

        SQLAlchemy leaves its `async with` blocks in a task of its own, which holds no user's frame,
        and before Python 3.12 wait_for() makes a task that holds no frame but the library's.
        """
        started = self.started.get(task_id())
        if started is not None:
            for known in (is_user, starts):
                if any(known(frame.file) for frame in frames):
                    break
                if any(known(frame.file) for frame in started.frames):
                    frames = started.frames
                    break
        return place(frames), frames

    def suspends(self, coroutine: Any) -> tuple[list[Hold], str, float]:
        """A task of the request waits. Returns what `resumes` needs."""
        if self.main is None or self.main.done():
            return [], "", 0.0  # what goes on after the request cannot be cut with it
        self.suspensions += 1
        if self.suspensions == self.cancel_at:
            self.main.cancel()
        if self.suspensions == self.leave_at:
            self.gone.set()
        since, mine = time.perf_counter(), task_id()
        holds = [hold for hold in self.out if hold.idle is not None and hold.task == mine]
        if not holds:
            return [], "", 0.0
        frames = chain(coroutine)
        if any(belongs(frame.file, "sqlalchemy", "asyncpg") for frame in frames):
            return [], "", 0.0  # it waits for the database
        inner = (
            f" (in {module(frames[-1].file)})" if frames and not is_user(frames[-1].file) else ""
        )
        return holds, place(reversed(frames)) + inner, since

    def resumes(self, holds: list[Hold], awaiting: str, since: float) -> None:
        """The wait is over: it counts to the gaps of the connections held meanwhile.

        Another task may have used one of them meanwhile: its present gap began after that.
        """
        now = time.perf_counter()
        for hold in holds:
            if hold.idle is not None:
                hold.waits.append((now - max(since, hold.idle), awaiting))
