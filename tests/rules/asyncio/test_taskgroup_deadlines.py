"""What rules/asyncio/taskgroup.md says of deadlines and of who is cancelled when."""

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager, suppress

from tests.harness import confirms
from tests.observers.waiting import turns
from tests.rules.asyncio.test_taskgroup_traps import forever, raised_by

RULE = "asyncio/taskgroup"


async def fail(error, after=0):
    await turns(after)
    raise error


@confirms(RULE, "timeout-inside-the-group")
async def where_the_timeout_stands_decides_what_it_does():
    """Bare around the group; in the block blind to the children; in a child fatal to siblings."""
    outlived, siblings = [], []

    async def outlive():
        await asyncio.sleep(0.05)
        outlived.append("child")

    async def around():
        async with asyncio.timeout(0.01), asyncio.TaskGroup() as group:
            siblings.append(group.create_task(forever()))

    async def in_the_block():
        async with asyncio.TaskGroup() as group, asyncio.timeout(0.01):  # noqa: ASYNC100
            group.create_task(outlive())

    async def blocked():
        async with asyncio.TaskGroup() as group, asyncio.timeout(0.01):
            siblings.append(group.create_task(forever()))
            await forever()

    async def limited():
        async with asyncio.timeout(0.01):
            await forever()

    async def in_a_child():
        async with asyncio.TaskGroup() as group:
            group.create_task(limited())
            siblings.append(group.create_task(forever()))

    async def caught():
        with suppress(TimeoutError):
            await limited()

    async def caught_in_a_child():
        async with asyncio.TaskGroup() as group:
            group.create_task(caught())
            group.create_task(outlive())

    assert await raised_by(around()) is TimeoutError
    assert await raised_by(in_the_block()) is None
    assert outlived == ["child"]
    assert await raised_by(blocked()) is ExceptionGroup
    assert await raised_by(in_a_child()) is ExceptionGroup
    assert await raised_by(caught_in_a_child()) is None
    assert outlived == ["child", "child"]
    assert [each.cancelled() for each in siblings] == [True, True, True]


@confirms(RULE, "timeout-inside-the-group")
async def a_child_that_fails_while_cancelled_hides_the_timeout():
    """Its error in a group takes the place of the bare TimeoutError."""

    async def closes_badly():
        try:
            await forever()
        finally:
            raise OSError

    async def around():
        async with asyncio.timeout(0.01), asyncio.TaskGroup() as group:
            group.create_task(closes_badly())

    assert await raised_by(around()) is ExceptionGroup


@confirms(RULE, "wait-and-as-completed-cancel-nothing")
async def tasks_go_on_after_wait_and_as_completed():
    """A timeout, or the caller's cancel, leaves every task running; a TaskGroup leaves none."""

    async def first(tasks):
        for each in asyncio.as_completed(tasks):
            await each

    async def owner():
        async with asyncio.timeout(0.01), asyncio.TaskGroup() as group:
            owned.append(group.create_task(forever()))
            await asyncio.wait(owned)

    tasks = [asyncio.create_task(forever()) for _ in range(4)]
    owned = []

    await asyncio.wait(tasks[:1], timeout=0.01)
    (late,) = asyncio.as_completed(tasks[1:2], timeout=0.01)
    assert await raised_by(late) is TimeoutError
    callers = [asyncio.create_task(each) for each in (asyncio.wait(tasks[2:3]), first(tasks[3:]))]
    await turns()
    for each in callers:
        each.cancel()
    await asyncio.wait(callers)
    assert await raised_by(owner()) is TimeoutError

    assert [each.cancelled() for each in callers] == [True, True]
    assert [each.done() for each in tasks + owned] == [False, False, False, False, True]
    for each in tasks:
        each.cancel()
    await asyncio.wait(tasks)


async def numbers():
    async with asyncio.TaskGroup() as group:
        group.create_task(fail(ValueError(), after=2))
        while True:
            yield 1


@asynccontextmanager
async def feed():
    async with asyncio.TaskGroup() as group:
        group.create_task(fail(ValueError(), after=2))
        yield


@confirms(RULE, "yield-inside-a-group")
async def a_childs_failure_cancels_the_consumer_of_a_generator():
    """The consumer is cancelled at its own await; under a context manager it gets the error."""

    async def consume():
        async for _ in numbers():
            await turns(10)

    async def enter():
        async with feed():
            await forever()

    assert await raised_by(asyncio.create_task(consume())) is asyncio.CancelledError
    assert await raised_by(asyncio.create_task(enter())) is ExceptionGroup


@confirms(RULE, "yield-inside-a-group")
def ruff_reports_the_generator_and_spares_the_context_manager():
    """ASYNC119 tells the two apart."""
    generator = "async def numbers(group):\n    async with group:\n        yield 1\n"
    manager = f"import contextlib\n\n\n@contextlib.asynccontextmanager\n{generator}"
    options = ["--isolated", "--preview", "--no-cache", "--select=ASYNC119", "-"]
    command = [sys.executable, "-m", "ruff", "check", *options]

    found = [
        subprocess.run(command, input=code, capture_output=True, text=True).returncode
        for code in (generator, manager)
    ]

    assert found == [1, 0]


@confirms(RULE, "resource-handed-to-a-task")
async def a_task_cancelled_before_its_first_step_releases_nothing():
    """Handed over, the resource leaks; acquired in the task, it was never taken."""
    taken, released = [], []

    async def use(name):
        try:
            await forever()
        finally:
            released.append(name)

    async def acquire_and_use(name):
        taken.append(name)
        await use(name)

    async def fails_early(child):
        async with asyncio.TaskGroup() as group:
            group.create_task(child)
            raise ValueError

    taken.append("handed over")
    assert await raised_by(fails_early(use("handed over"))) is ExceptionGroup
    assert await raised_by(fails_early(acquire_and_use("acquired"))) is ExceptionGroup

    assert (taken, released) == (["handed over"], [])
