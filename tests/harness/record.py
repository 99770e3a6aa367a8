"""Record everything a library writes while something runs: errors, logs, warnings."""

import gc
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Record:
    """What was written so far, in order; `text` is all of it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def error(self, error: BaseException) -> None:
        """Keep an error as a traceback's last lines name it, and those behind or inside it."""
        self.lines.append(told(error))


def told(error: BaseException | None) -> str:
    """Class and message of an error, of a group's members, of its cause and context.

    No line of source: what a test spells itself must not pass for what a library wrote.
    """
    seen: set[int] = set()
    lines: list[str] = []

    def tell(each: BaseException | None) -> None:
        if each is None or id(each) in seen:
            return
        seen.add(id(each))
        tell(each.__cause__)
        tell(each.__context__)
        lines.append("".join(traceback.format_exception_only(each)).strip())
        for inner in each.exceptions if isinstance(each, BaseExceptionGroup) else ():
            tell(inner)

    tell(error)
    return "\n".join(lines)


class _Keep(logging.Handler):
    def __init__(self, record: Record) -> None:
        super().__init__()
        self.kept = record

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.lines.append(f"{record.levelname}: {record.getMessage()}")
        if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
            self.kept.error(record.exc_info[1])


def _opened() -> Callable[[], None]:
    """Let every logger reach the root, whatever a server has set up before; return the undoing."""
    known = [
        each for each in logging.root.manager.loggerDict.values() if hasattr(each, "propagate")
    ]
    before = [(logger, logger.propagate, logger.disabled) for logger in known]
    for logger in known:
        logger.propagate, logger.disabled = True, False

    def restore() -> None:
        for logger, propagate, disabled in before:
            logger.propagate, logger.disabled = propagate, disabled

    return restore


@contextmanager
def recorded() -> Iterator[Record]:
    """Record log lines from INFO up, warnings, and what asyncio, threads and destructors report."""
    record = Record()
    keep, root = _Keep(record), logging.getLogger()
    level, unraisable, threads = root.level, sys.unraisablehook, threading.excepthook

    def ignored(event: Any) -> None:
        record.lines.append(f"{event.err_msg or 'Exception ignored in'}: {event.object!r}")
        record.error(event.exc_value)

    def ended(event: Any) -> None:
        record.lines.append(f"Exception in thread {event.thread.name if event.thread else ''}:")
        record.error(event.exc_value)

    restore = _opened()
    gc.freeze()  # so that the collection at the end looks only at what is new
    sys.unraisablehook, threading.excepthook = ignored, ended
    root.addHandler(keep)
    root.setLevel(logging.INFO)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            yield record
            gc.collect()
        finally:
            record.lines += [f"{each.category.__name__}: {each.message}" for each in warned]
            root.removeHandler(keep)
            root.setLevel(level)
            restore()
            sys.unraisablehook, threading.excepthook = unraisable, threads
            gc.unfreeze()
