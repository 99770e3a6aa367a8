"""What asyncio/cancellation says of stopping workers and programs started beside them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import asynccontextmanager, suppress

import pytest

from tests.harness import confirms, correct
from tests.harness.interpreters import run_on
from tests.observers.canceller import cancelled_at
from tests.observers.waiting import turns, until

RULE = "asyncio/cancellation"


@confirms(RULE, "closing-right-after-cancel")
async def every_worker_is_stopped_before_an_error_is_raised():
    """A worker that died long ago, and one that fails to stop, do not keep the next running."""
    stop = correct(RULE, "stopping-a-task").stop
    cleaned = []

    async def died():
        raise ConnectionError

    async def fails_to_stop():
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError

    async def fine():
        try:
            await asyncio.sleep(60)
        finally:
            await turns()
            cleaned.append(True)

    workers = [asyncio.create_task(work()) for work in (died, fails_to_stop, fine)]
    await turns(2)

    with pytest.RaisesGroup(ConnectionError, ValueError):
        await stop(*workers)
    assert cleaned == [True]


@confirms(RULE, "closing-right-after-cancel")
async def a_worker_that_will_not_stop_is_an_error_after_the_limit():
    """stop() ends after its limit and says who is left; of nobody it is fine."""
    stop = correct(RULE, "stopping-a-task").stop
    let_go = asyncio.Event()

    async def stubborn():
        while not let_go.is_set():
            with suppress(asyncio.CancelledError):
                await let_go.wait()

    await stop()
    worker = asyncio.create_task(stubborn())
    await turns(2)

    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="stubborn")):
        await stop(worker, limit=0.01)
    let_go.set()
    await stop(worker)
    assert worker.done()


def test_work_that_ends_cancelled_unasked_is_an_error():
    """Without SIGTERM the program does not end as if its work were done."""
    main = correct(RULE, "stopping-a-program").main

    async def work():
        worker = asyncio.create_task(asyncio.sleep(60))
        worker.cancel()
        await worker

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main(work()))


def test_ruff_advises_suppress_for_a_cancelled_task():
    """SIM105 reports the try/except/pass around an awaited task and names suppress."""
    code = """\
    import asyncio


    async def stop(worker: asyncio.Task[None]) -> None:
        worker.cancel()
        try:
            await worker
        except asyncio.CancelledError:
            pass
    """
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select=SIM105"]

    done = subprocess.run(
        [*ruff, "--output-format=json", "-"],
        input=textwrap.dedent(code),
        capture_output=True,
        text=True,
    )

    (report,) = json.loads(done.stdout)
    assert "contextlib.suppress(asyncio.CancelledError)" in report["message"]


# The child inherits the pipe `held`, so the pipe ends when the last of them has ended.
TOOL = "sleep 60 & echo started; wait"
LEAVES_A_CHILD = "sleep 60 & echo started"


@asynccontextmanager
async def program(code):
    """Start a shell program whose children hold a pipe; kill whatever is left of them."""
    held, end = os.pipe()
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        code,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        pass_fds=[end],
    )
    os.close(end)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(held, "rb")
    )
    try:
        await process.stdout.readline()
        yield process, asyncio.create_task(reader.read())
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()  # to the end of its pipe, so that no transport stays open
        transport.close()
        await turns()


async def output(process, limit):
    """The advised form, around a program that was started in a session of its own."""
    try:
        async with asyncio.timeout(limit):
            return await process.communicate()
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise


async def ended(task, limit):
    done, _ = await asyncio.wait({task}, timeout=limit)
    return bool(done)


@confirms(RULE, "subprocess-under-a-deadline")
async def a_deadline_or_a_kill_leaves_processes_running():
    """After wait_for the program runs on; after kill() its child does."""
    async with program(TOOL) as (process, family):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.communicate(), 0.01)
        assert process.returncode is None

        process.kill()
        assert await until(lambda: process.returncode is not None)

        assert process.returncode == -signal.SIGKILL
        assert not await ended(family, 0.1)


@confirms(RULE, "subprocess-under-a-deadline")
async def killing_the_group_leaves_nothing():
    """A deadline and a cancel end program and child, also when the program ended before it."""
    for code in (TOOL, LEAVES_A_CHILD):
        async with program(code) as (process, family):
            with pytest.raises(TimeoutError):
                await output(process, 0.05)
            assert await ended(family, 5)

        async with program(code) as (process, family):
            assert (await cancelled_at(output(process, 60), 1)).cancelled
            assert await ended(family, 5)

    async with program("echo started; echo done") as (process, family):
        assert await output(process, 60) == (b"done\n", None)
        assert await ended(family, 5)


HANGS = """
import asyncio, os, signal

async def main():
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", "sleep 60 & echo started; wait",
        stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )
    await process.stdout.readline()
    process.kill()
    waiting = asyncio.create_task(process.wait())
    while process.returncode is None:
        await asyncio.sleep(0.01)
    await asyncio.wait([waiting], timeout=0.3)
    print(process.returncode, "hangs" if not waiting.done() else "returns")
    os.killpg(process.pid, signal.SIGKILL)
    await waiting

asyncio.run(main())
"""


@confirms(RULE, "subprocess-under-a-deadline")
def wait_hangs_on_the_childs_pipe():
    """On Python 3.11 wait() after kill() goes on until the children close the pipe."""
    assert run_on("3.11", HANGS) == "-9 hangs"
