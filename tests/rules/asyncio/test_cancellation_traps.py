"""Traps of asyncio/cancellation that need no framework."""

import asyncio
import textwrap
import warnings
from contextlib import suppress

import pytest

from tests.harness import confirms, correct
from tests.observers.canceller import cancelled_at
from tests.observers.waiting import reached, turns

RULE = "asyncio/cancellation"


CLAUSES = [
    "except asyncio.CancelledError: return",
    "except asyncio.CancelledError: break",
    "except: pass",
    "finally: return",
]


def step_with(clause):
    """A coroutine function that waits for long in a `try` with this clause."""
    code = f"""
    import asyncio
    async def step():
        for _ in range(1):
            try: await asyncio.sleep(60)
            {clause}
    """
    module = {}
    with warnings.catch_warnings():
        # Python 3.14 warns of `return` in `finally`, which is the trap.
        warnings.simplefilter("ignore", SyntaxWarning)
        exec(textwrap.dedent(code), module)  # noqa: S102
    return module["step"]


def test_a_swallowed_deadline_ends_without_timeout_error():
    """Each way to swallow ends the block with the deadline expired and no TimeoutError."""

    async def ends_with(clause):
        timer = asyncio.timeout(0.01)
        try:
            async with timer:
                await step_with(clause)()
        except TimeoutError:
            return "TimeoutError"
        assert timer.expired()
        return "nothing"

    assert [asyncio.run(ends_with(clause)) for clause in CLAUSES] == ["nothing"] * 4
    assert asyncio.run(ends_with("except BaseException: raise")) == "TimeoutError"


@confirms(RULE, "closing-right-after-cancel")
async def the_worker_rolls_back_on_a_closed_pool():
    """What is closed right after cancel() is closed before the worker's cleanup; stop() waits."""
    stop = correct(RULE, "stopping-a-task").stop

    async def order_of(cancel):
        order = []
        started = asyncio.Event()

        async def work():
            try:
                started.set()
                await asyncio.sleep(60)
            finally:
                order.append("rollback")

        worker = asyncio.create_task(work())
        await reached(started, worker)
        await cancel(worker)
        order.append("close")
        await asyncio.wait({worker})
        return order

    async def only_cancel(worker):
        worker.cancel()

    assert await order_of(only_cancel) == ["close", "rollback"]
    assert await order_of(stop) == ["rollback", "close"]


@confirms(RULE, "timeouterror-caught-inside-its-block")
async def the_deadline_is_caught_outside_its_block():
    """`except TimeoutError` inside the block does not run for the deadline."""
    caught = []
    with suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            try:
                await asyncio.sleep(60)
            except TimeoutError:
                caught.append("inside")
            except asyncio.CancelledError:
                caught.append("cancelled")
                raise

    assert caught == ["cancelled"]


@confirms(RULE, "timeouterror-caught-inside-its-block")
async def a_deadline_inside_a_group_is_no_timeout_error():
    """Around the TaskGroup the deadline is a TimeoutError; in its body or a child it is wrapped."""

    async def outside():
        async with asyncio.timeout(0.01), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(60))

    async def body():
        async with asyncio.TaskGroup() as group, asyncio.timeout(0.01):
            await group.create_task(asyncio.sleep(60))

    async def limited():
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)

    async def caught():
        with suppress(TimeoutError):
            await limited()
        return "caught"

    async def child(job):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(job())
        return task.result()

    with pytest.raises(TimeoutError):
        await outside()
    with pytest.RaisesGroup(TimeoutError):
        await body()
    with pytest.RaisesGroup(TimeoutError):
        await child(limited)
    assert await child(caught) == "caught"


@confirms(RULE, "shield-without-a-reference")
def a_shielded_task_outlives_its_caller_only_when_kept():
    """On exit run() cancels shielded work; work in a set that is waited for completes."""

    def outcome(kept):
        saved = []

        async def save():
            await turns()
            saved.append("done")

        async def call(tasks):
            task = asyncio.create_task(save())
            tasks.append(task)
            await asyncio.shield(task)

        async def main():
            tasks = []
            cancelled = await cancelled_at(call(tasks), 1)
            assert cancelled.cancelled
            assert not saved
            if kept:
                await asyncio.wait(tasks)

        asyncio.run(main())
        return saved

    assert outcome(kept=False) == []
    assert outcome(kept=True) == ["done"]
