"""What asyncio/cancellation says of `finish`, and of cleanups that raise."""

import asyncio
import traceback
from contextlib import AsyncExitStack
from contextvars import ContextVar

import anyio
import pytest

from tests.harness import confirms, correct
from tests.observers.canceller import cancelled_at, each_point
from tests.observers.waiting import turns

RULE = "asyncio/cancellation"
PAIR = "cleanup-that-must-finish"


def errors(caplog):
    """What was logged since the last call, as the names of the errors."""
    found = [record.exc_info[0].__name__ for record in caplog.records]
    caplog.clear()
    return found


def finish():
    return correct(RULE, PAIR).finish


async def deadline_through_poll(cleanup):
    """Whether the caller's deadline ends a poll whose fetch ends in this cleanup."""
    poll = correct(RULE, "retry-loops").poll
    calls = 0

    async def fetch():
        nonlocal calls
        calls += 1
        if calls > 1:
            return "late"
        try:
            await asyncio.sleep(60)
        finally:
            await cleanup()

    try:
        async with asyncio.timeout(0.01):
            await poll(fetch)
    except TimeoutError:
        return calls == 1
    return False


async def refuse():
    await asyncio.sleep(0)
    raise OSError("lock server gone")


@confirms(RULE, "cleanup-that-raises")
async def an_error_of_the_cleanup_swallows_the_deadline(caplog):
    """poll retries an OSError that replaced its deadline; `finish` logs it and lets it through."""

    async def late():
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)

    async def finish_late():
        await finish()(asyncio.sleep(60), limit=0.01)

    async def finish_refused():
        await finish()(refuse())

    assert not await deadline_through_poll(refuse)
    assert not await deadline_through_poll(late)
    assert await deadline_through_poll(finish_late)
    assert await deadline_through_poll(finish_refused)
    assert errors(caplog) == ["TimeoutError", "OSError"]


@confirms(RULE, "cleanup-that-raises")
async def finish_gives_up_after_its_limit(caplog):
    """A cleanup that hangs is cancelled after the limit and logged, and its caller goes on."""
    cleanup = asyncio.create_task(asyncio.sleep(60))

    await finish()(cleanup, limit=0.01)

    assert cleanup.cancelled()
    assert errors(caplog) == ["TimeoutError"]


@confirms(RULE, "cleanup-that-raises")
async def a_job_ends_as_its_work_did_or_cancelled(caplog):
    """A failed unlock is logged at every cancel, twice too, and never ends the job."""
    locked = correct(RULE, PAIR).locked

    def job():
        return locked(turns, refuse)

    await job()
    assert errors(caplog) == ["OSError"]

    ends = []
    async for once in each_point(job):
        ends.append((once.cancelled, errors(caplog)))
        for second in range(once.points[0] + 1, once.suspensions + 1):
            twice = await cancelled_at(job(), once.points[0], second)
            ends.append((twice.cancelled, errors(caplog)))

    assert len(ends) > 5
    assert all(end == (True, ["OSError"]) for end in ends)


@confirms(RULE, "cleanup-that-raises")
async def the_works_own_error_stays_in_sight():
    """A cancel during the unlock is raised with the work's error as its context."""

    async def work():
        raise ValueError("the work's own")

    run = await cancelled_at(keeping_traceback(correct(RULE, PAIR).locked(work, turns)), 1)

    assert "the work's own" in run.result


async def keeping_traceback(job):
    try:
        await job
    except asyncio.CancelledError as error:
        return "".join(traceback.format_exception(error))


@confirms(RULE, "cleanup-that-raises")
async def a_cleanup_cancelled_by_others_is_logged(caplog):
    """A cleanup that ends cancelled though its caller was not is a line in the log."""

    async def cut():
        raise asyncio.CancelledError

    await finish()(cut())

    assert errors(caplog) == ["CancelledError"]


@confirms(RULE, "cleanup-bound-to-its-task")
async def finish_runs_the_cleanup_in_another_task(caplog):
    """An anyio task group and a ContextVar's token cannot be handed to `finish`."""
    name = ContextVar("name", default="nobody")
    token = name.set("somebody")

    async def reset():
        name.reset(token)

    async def close_group():
        stack = AsyncExitStack()
        await stack.enter_async_context(anyio.create_task_group())
        await finish()(stack.aclose())

    await finish()(reset())
    assert "was created in a different Context" in caplog.text
    caplog.clear()
    # In a task of its own, whose scopes are out of order from then on.
    await asyncio.wait({asyncio.create_task(close_group())})

    assert "Attempted to exit cancel scope in a different task" in caplog.text


@confirms(RULE, "cleanup-bound-to-its-task")
async def awaited_in_finally_it_survives_one_cancel():
    """A stack with an anyio group closes whole in its own task after one cancel, not after two."""

    async def closed(*points):
        steps = []

        async def close():
            steps.append("begun")
            await turns()
            steps.append("done")

        async def job():
            stack = AsyncExitStack()
            stack.push_async_callback(close)
            await stack.enter_async_context(anyio.create_task_group())
            try:
                await asyncio.sleep(60)
            finally:
                await stack.aclose()

        run = await cancelled_at(job(), *points)
        assert run.cancelled
        return steps

    assert await closed(1) == ["begun", "done"]
    assert ["begun"] in [await closed(1, second) for second in range(2, 6)]


def test_a_swallowed_cancel_of_oneself_needs_uncancel():
    """Without uncancel() the deadline around it no longer ends in a TimeoutError."""

    async def job(uncancel):
        task = asyncio.current_task()
        async with asyncio.timeout(0.01):
            task.cancel()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if uncancel:
                    task.uncancel()
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        asyncio.run(job(uncancel=True))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(job(uncancel=False))
