"""See each suspension of each task of a request, and which code started the task."""

import asyncio
from collections.abc import Generator
from typing import Any, Protocol

from .places import here, is_user, place, starts, task_id
from .trace import CURRENT, Started


class Watcher(Protocol):
    """What is told of each suspension: `resumes` gets what `suspends` returned."""

    def suspends(self, coroutine: Any) -> tuple[Any, ...]: ...

    def resumes(self, *token: Any) -> None: ...


class Steps:
    """Awaits a coroutine, and tells a watcher of each of its suspensions."""

    def __init__(self, coroutine: Any, trace: Watcher) -> None:
        self.coroutine, self.trace = coroutine, trace

    def __await__(self) -> Generator[Any, Any, Any]:
        resume, value = self.coroutine.send, None
        while True:
            try:
                waited_for = resume(value)
            except StopIteration as stop:
                return stop.value
            token = self.trace.suspends(self.coroutine)
            try:
                value, resume = (yield waited_for), self.coroutine.send
            except GeneratorExit:  # the collector has it, and perhaps has closed the inner one
                self.coroutine.close()
                raise
            except BaseException as error:
                value, resume = error, self.coroutine.throw
            self.trace.resumes(*token)


def task_factory(
    loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
) -> "asyncio.Task[Any]":
    """Make a task; one that a request starts, by any detour, is watched."""
    context = options.get("context")
    trace = CURRENT.get() if context is None else context.get(CURRENT)
    if trace is None:
        return asyncio.Task(coroutine, loop=loop, **options)

    async def run() -> Any:
        return await Steps(coroutine, trace)

    outer, name = run(), getattr(coroutine, "__qualname__", repr(coroutine))
    outer.__qualname__ = name
    task = asyncio.Task(outer, loop=loop, **options)
    task.add_done_callback(lambda _: coroutine.close())  # if cancelled before its first step
    frames = here()
    starter = next((frame.file for frame in frames if starts(frame.file)), "")
    label = f"{name}, started at {place(frames)}"
    users, parent = is_user(starter), trace.started.get(task_id())
    apart = users or (parent is not None and parent.apart)
    trace.started[id(task)] = Started(label, frames, users, apart)
    if users:
        trace.tasks[task] = label
    return task
