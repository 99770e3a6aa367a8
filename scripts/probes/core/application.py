"""Load an ASGI application, and run its lifespan as a server does."""

import asyncio
import difflib
import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from .client import SPEC
from .places import OWN, is_user

STARTUP = 60.0  # seconds
VALUE = re.compile(r"""(?:'([^']*)'|"([^"]*)"|([^'"\s].*?)?)(?:\s+#.*)?""")  # and a comment


class ApplicationError(RuntimeError):
    """The application cannot be loaded or started; the message holds its own last words."""


def load(name: str, *, factory: bool, folder: Path) -> Any:
    """Import `module:attribute` from a folder; with `factory`, call the attribute.

    Raises ApplicationError.
    """
    module, _, attribute = name.partition(":")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        found: Any = importlib.import_module(module)
        for part in (attribute or "app").split("."):
            found = getattr(found, part)
        if factory and not isinstance(found, type) and not inspect.isroutine(found):
            raise TypeError("it is no function that makes an application: leave --factory out")
        return found() if factory else found
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may even call sys.exit()
        text = f"{name} does not load:\n{last_words(error)}{_hint(error, module, folder)}"
        raise ApplicationError(text) from error


def _hint(error: BaseException, module: str, folder: Path) -> str:
    """What to write instead of a name that does not exist."""
    if isinstance(error, ModuleNotFoundError):
        if error.name == module.partition(".")[0]:
            return f"\n{folder} has no such module: --app-dir says where it is"
        if error.name == module and "not a package" in str(error):
            inner, _, last = module.rpartition(".")
            return f"\nwrite MODULE:APP, as {inner}:{'app' if last == 'py' else last}"
    if isinstance(error, AttributeError) and error.obj is sys.modules.get(module):
        near = difflib.get_close_matches(error.name, dir(error.obj), n=3)
        return f"\nit has {', '.join(near)}" if near else ""
    return ""


def call(name: str, folder: Path) -> Callable[..., Any]:
    """The function of a `--setup module:function`. Raises ApplicationError."""
    function: Callable[..., Any] = load(name, factory=False, folder=folder)
    return function


def read_env(path: Path) -> None:
    """Set the variables of an env file that are not set yet, as uvicorn's --env-file does.

    Raises ApplicationError for a file that cannot be read and for a line that is no assignment.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ApplicationError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix("export ")
        if not text or text.startswith("#"):
            continue
        name, sign, value = text.partition("=")
        if not sign:
            raise ApplicationError(f"{path}:{number}: is no NAME=value: {line!r}")
        read = VALUE.fullmatch(value.strip())
        if read is None:
            raise ApplicationError(
                f"{path}:{number}: its quote does not close, or goes on: {line!r}"
            )
        os.environ.setdefault(name.strip(), next((each for each in read.groups() if each), ""))


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[dict[str, Any]]:
    """The lifespan around the block, in a task of its own, as servers run it; yields its state.

    Raises ApplicationError when it fails to start or to end.
    """
    state: dict[str, Any] = {}
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": SPEC, "state": state}
    try:
        task = asyncio.ensure_future(app(scope, inbox.get, outbox.put))
    except TypeError as error:
        text = f"it is no ASGI application, or a function that makes one (--factory): {error}"
        raise ApplicationError(text) from error

    async def phase(name: str) -> bool:
        inbox.put_nowait({"type": f"lifespan.{name}"})
        answer = asyncio.ensure_future(outbox.get())
        await asyncio.wait({task, answer}, return_when="FIRST_COMPLETED", timeout=STARTUP)
        message: dict[str, Any] = answer.result() if answer.done() else {}
        answer.cancel()
        if message.get("type", "").endswith("complete"):
            return True
        if name == "startup" and task.done() and not message:
            return False  # an application without a lifespan raises, or returns
        if message:
            await asyncio.wait({task}, timeout=1)  # it says that it failed, and then raises
        error = task.exception() if task.done() and not task.cancelled() else None
        told = last_words(error) if error else message.get("message", "").strip()[-1500:]
        told = told or ("it ended" if task.done() else f"no answer in {STARTUP:.0f} s")
        task.cancel()
        raise ApplicationError(f"the lifespan's {name} failed: {told}") from error

    has_lifespan = await phase("startup")
    try:
        yield state
    finally:
        if has_lifespan:
            await phase("shutdown")
            await asyncio.wait({task}, timeout=STARTUP)


def last_words(error: BaseException) -> str:
    """The end of the traceback: the user's lines, and the one that raised it."""
    told = traceback.TracebackException.from_exception(error)
    cause: traceback.TracebackException | None = told
    while cause is not None:
        theirs = [each for each in cause.stack if not _machinery(each.filename)]
        users = [each for each in theirs if is_user(each.filename)]
        if users and theirs[-1] is not users[-1]:
            users.append(theirs[-1])  # where it was raised, without the libraries in between
        cause.stack = traceback.StackSummary.from_list((users or theirs)[-6:])
        context = cause.__context__
        if context is not None and all(_machinery(each.filename) for each in context.stack):
            cause.__context__ = None  # what the import system tried first
        cause = cause.__cause__ or cause.__context__
    return "".join(told.format()).strip()[-1500:]


def _machinery(file: str) -> bool:
    return file.startswith((*OWN, "<frozen importlib")) or "/importlib/" in file
