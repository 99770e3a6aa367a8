"""Traps of asyncio/cancellation that need no framework."""

import asyncio
import textwrap
import warnings
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest

from tests.harness import confirms, correct
from tests.observers.canceller import cancelled_at, each_point
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


@confirms(RULE, "quiet-swallowing")
async def a_swallowed_deadline_ends_without_timeout_error():
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

    assert [await ends_with(clause) for clause in CLAUSES] == ["nothing"] * 4
    assert await ends_with("except BaseException: raise") == "TimeoutError"


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


class Pool:
    """Counts what is out, and which units of work were left open."""

    def __init__(self):
        self.out = 0
        self.open = 0

    async def acquire(self):
        await asyncio.sleep(0)
        self.out += 1
        return self

    async def ping(self):
        await asyncio.sleep(0)

    def release(self):
        self.out -= 1


async def leaks(use):
    """Cancel `use(pool)` at each of its awaits; return whether the pool ever lacks something."""
    pool = Pool()
    await use(pool)
    assert pool.out == pool.open == 0
    lacks = []
    async for _ in each_point(lambda: use(pool)):
        lacks.append(pool.out > 0 or pool.open > 0)
        pool.out = pool.open = 0
    return any(lacks)


@confirms(RULE, "cancelled-before-try")
async def a_cancel_between_acquire_and_try_leaks():
    """An await between acquire and try leaks, also in __aenter__; a context manager does not."""

    async def late_try(pool):
        await pool.acquire()
        await pool.ping()
        try:
            await pool.ping()
        finally:
            pool.release()

    class Lease:
        def __init__(self, pool):
            self.pool = pool

        async def __aenter__(self):
            await self.pool.acquire()
            await self.pool.ping()

        async def __aexit__(self, *exc_info):
            self.pool.release()

    @asynccontextmanager
    async def lease(pool):
        await pool.acquire()
        try:
            await pool.ping()
            yield
        finally:
            pool.release()

    async def use(lease, pool):
        async with lease(pool):
            await pool.ping()

    assert await leaks(late_try)
    assert await leaks(partial(use, Lease))
    assert not await leaks(partial(use, lease))


@confirms(RULE, "timeouterror-caught-inside-its-block")
async def the_deadline_is_caught_outside_its_block():
    """`except TimeoutError` inside the block never runs; `expired()` tells a driver's apart."""
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

    async def whose(step, deadline):
        try:
            async with asyncio.timeout(deadline) as cm:
                await step()
        except OSError:
            return "ours" if cm.expired() else "the driver's"

    async def driver():
        raise TimeoutError("socket")

    assert await whose(driver, 60) == "the driver's"
    assert await whose(partial(asyncio.sleep, 60), 0.01) == "ours"


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
