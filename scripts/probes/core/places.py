"""Which line of the user's code something happens at."""

import asyncio
import gc
import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

PACKAGE = Path(__file__).resolve().parent.parent
OWN = (str(PACKAGE) + os.sep, str(PACKAGE.with_name("probe.py")))
STDLIB = sysconfig.get_path("stdlib") + os.sep
DRIVERS = (
    "sqlalchemy", "asyncpg", "aiomysql", "asyncmy", "psycopg", "psycopg_pool", "psycopg2",
    "pymysql",
)  # fmt: skip
KINDS = {"cr": "cr_await", "gi": "gi_yieldfrom", "ag": "ag_await"}  # coroutines and generators


_root: list[str] = []  # the folder of the user's code, once it is known


class Frame(NamedTuple):
    """A place in code: the file, the line, the function."""

    file: str
    line: int
    function: str


def look_below(folder: Path) -> None:
    """Take what is below the application's folder for the user's.

    What stands beside that folder is too, if the current folder is around both.
    """
    here, folder = Path.cwd(), folder.resolve()
    _root[:] = [os.path.join(here if folder.is_relative_to(here) else folder, "")]


def is_user(file: str) -> bool:
    """Whether a file is the user's: below the folder of the code, and no installed package."""
    root = _root[0] if _root else os.path.join(os.getcwd(), "")
    installed = f"{os.sep}site-packages{os.sep}" in file or f"{os.sep}dist-packages{os.sep}" in file
    return file.startswith(root) and not (installed or file.startswith((*OWN, STDLIB)))


def belongs(file: str, *libraries: str) -> bool:
    """Whether a file is one of these libraries', and not the user's in a folder of that name."""
    return any(f"/{name}/" in file for name in libraries) and not is_user(file)


def starts(file: str) -> bool:
    """Whether a file can start a task in its own right: not the standard library's, not ours."""
    inside = file.startswith(STDLIB) and "site-packages" not in file
    return not (inside or file.startswith((*OWN, "<")))


def module(file: str) -> str:
    """The dotted name of a library's file."""
    name = file.rpartition("site-packages" + os.sep)[2].removeprefix(STDLIB)
    return name.removesuffix(".py").replace(os.sep, ".")


def place(frames: Iterable[Frame]) -> str:
    """`app/db.py:44 get_session`: the innermost line that is the user's, or another package's.

    The frames are given inside out.
    """
    known = [frame for frame in frames if not frame.file.startswith(OWN)]
    user = next((frame for frame in known if is_user(frame.file)), None)
    if user:
        return f"{os.path.relpath(user.file)}:{user.line} {user.function}"
    others = [frame for frame in known if not belongs(frame.file, *DRIVERS)]
    other = next((frame for frame in others if starts(frame.file)), next(iter(others), None))
    return f"{module(other.file)}:{other.line} {other.function}" if other else "?"


def caller(frames: Iterable[Frame]) -> str:
    """The function that the innermost of the user's frames called; empty without one."""
    called = ""
    for frame in frames:
        if is_user(frame.file):
            return called
        called = "" if frame.file.startswith(OWN) else frame.function
    return ""


def raised(error: BaseException) -> str:
    """The user's innermost line that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    return place(Frame(each.filename, each.lineno or 0, each.name) for each in reversed(frames))


def stack(frame: FrameType | None) -> Iterator[Frame]:
    """A frame and those that called it, up to the event loop: who started that is no matter."""
    while frame is not None and frame.f_code.co_name != "_run_once":
        yield Frame(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back


def here() -> list[Frame]:
    """The frames of the running code, inside out, out of SQLAlchemy's greenlets too."""
    frames = list(stack(sys._getframe(1)))
    greenlet = sys.modules.get("greenlet")
    above = greenlet.getcurrent().parent if greenlet else None
    while above is not None:
        frames += stack(above.gr_frame)
        above = above.parent
    return frames


def chain(waiting: Any) -> list[Frame]:
    """The frames of a suspended coroutine, outermost first.

    An async generator's `asend()` and a coroutine's `__await__()` name nothing: the collector's
    references lead on from them.
    """
    frames: list[Frame] = []
    steps = 0
    while waiting is not None and not isinstance(waiting, asyncio.Future) and steps < 200:
        steps += 1
        kind = _kind(waiting)
        if kind is None:
            waiting = next((each for each in gc.get_referents(waiting) if _kind(each)), None)
            continue
        frame = getattr(waiting, f"{kind}_frame")
        if frame is not None:
            frames.append(
                Frame(frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name)
            )
        waiting = getattr(waiting, KINDS[kind])
    return frames


def _kind(value: Any) -> str | None:
    return next((kind for kind in KINDS if hasattr(value, f"{kind}_frame")), None)


def task_id() -> int:
    """What tells the running task apart, or the thread where no loop runs.

    Never the task itself: it refers to its exception, and that to frames and connections.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop in this thread
        task = None
    return id(task) if task is not None else threading.get_ident()
