"""Proofs of the pairs of asyncio/cancellation, and its symptoms."""

import asyncio
import multiprocessing.connection
import os
import signal
import warnings

import pytest

from tests.harness import proves
from tests.observers.canceller import cancelled_at, each_point
from tests.observers.waiting import reached, turns

RULE = "asyncio/cancellation"


@proves(RULE, "retry-loops")
async def poll_outlives_its_deadline(half):
    """A call whose deadline has passed goes on, and returns as if it had not."""
    answers = [OSError("reset"), "first"]

    async def fetch_after_a_failure():
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    assert await half.poll(fetch_after_a_failure) == "first"

    calls = 0

    async def fetch_that_hangs_once():
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.sleep(60)
        return "late"

    try:
        async with asyncio.timeout(0.01):
            return await half.poll(fetch_that_hangs_once) == "late"
    except TimeoutError:
        return calls > 1


@proves(RULE, "stopping-a-task")
async def the_caller_of_stop_survives_its_own_cancel(half):
    """A caller cancelled while it waits for the stopped task goes on with its next step."""
    started = asyncio.Event()
    cleaning = asyncio.Event()
    cleaned = asyncio.Event()
    next_step = False

    async def work():
        try:
            started.set()
            await asyncio.sleep(60)
        finally:
            cleaning.set()
            await cleaned.wait()

    async def fail_to_clean_up():
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("flush failed")

    async def own():
        nonlocal next_step
        await half.stop(worker)
        next_step = True

    worker = asyncio.create_task(work())
    await reached(started, worker)
    cleaned.set()
    await half.stop(worker)
    assert worker.cancelled()

    worker = asyncio.create_task(fail_to_clean_up())
    await turns(1)
    with pytest.RaisesGroup(ValueError, allow_unwrapped=True):
        await half.stop(worker)

    for event in (started, cleaning, cleaned):
        event.clear()
    worker = asyncio.create_task(work())
    await reached(started, worker)
    owner = asyncio.create_task(own())
    await reached(cleaning, worker, owner)
    owner.cancel()
    await turns()
    cleaned.set()
    await asyncio.wait({worker, owner}, timeout=5)

    return next_step


@proves(RULE, "cleanup-that-must-finish")
async def a_second_cancel_ends_the_job_before_its_unlock(half):
    """A job cancelled at any await, and again at any later one, ends with the lock still held."""
    held = False

    async def work():
        nonlocal held
        held = True
        await turns(2)

    async def unlock():
        nonlocal held
        await turns(3)
        held = False

    def job():
        return half.locked(work, unlock)

    await job()
    assert not held

    cancelled, still_held = 0, 0
    async for once in each_point(job):
        first = once.points[0]
        cancelled += 1
        still_held += held or not once.cancelled
        await turns()
        for later in range(first + 1, once.suspensions + 2):
            twice = await cancelled_at(job(), first, later)
            cancelled += 1
            still_held += held or not twice.cancelled
            await turns()

    assert cancelled > 3
    return still_held > 0


@proves(RULE, "async-generators")
async def the_generator_is_closed_by_another_task(half):
    """When the reader returns, the generator it left has not been closed by the reader's task."""
    closed_by = []

    async def rows():
        try:
            yield "apple"
            yield "pear"
        finally:
            await asyncio.sleep(0)
            closed_by.append(asyncio.current_task())

    async def no_rows():
        try:
            for row in ():
                yield row
        finally:
            closed_by.append(asyncio.current_task())

    assert await half.first(no_rows()) is None
    assert closed_by == [asyncio.current_task()]

    closed_by.clear()
    assert await half.first(rows()) == "apple"
    closed_on_return = closed_by == [asyncio.current_task()]
    await turns()

    return not closed_on_return


@proves(RULE, "stopping-a-program")
def sigterm_kills_without_cleanup(half):
    """A process told to stop, and again during its cleanup, dies before the cleanup is done."""

    async def quick():
        report.send("done")

    async def endless():
        try:
            report.send("started")
            await asyncio.sleep(60)
        finally:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
                await turns()
            report.send("cleaned up")

    reports, report = multiprocessing.Pipe(duplex=False)
    process = _start(lambda: asyncio.run(half.main(quick())))
    assert _next(reports, process) == "done"
    process.join(5)
    assert process.exitcode == 0

    process = _start(lambda: asyncio.run(half.main(endless())))
    try:
        assert _next(reports, process) == "started"
        os.kill(process.pid, signal.SIGTERM)
        process.join(5)
    finally:
        process.kill()
        process.join()

    return _next(reports, process) != "cleaned up" or process.exitcode != 0


def _start(run):
    process = multiprocessing.get_context("fork").Process(target=run, daemon=True)
    with warnings.catch_warnings():
        # Python 3.12 warns of forking beside threads; this child never meets theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    return process


def _next(reports, process):
    """The next report, or None when the process ended without one."""
    multiprocessing.connection.wait([reports, process.sentinel], timeout=5)
    return reports.recv() if reports.poll() else None
