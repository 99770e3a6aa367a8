"""What the drain of rules/asyncio/taskgroup.md promises a service that shuts down.

The clock of the loop is moved, so nobody waits for its fifteen seconds.
"""

import asyncio

import pytest

from tests.harness import correct
from tests.harness.judge import run
from tests.observers.waiting import turns
from tests.servers.uvicorn import source_of, uvicorn

RULE = "asyncio/taskgroup"
PAIR = "own-background-tasks"


class Shutdown:
    """A drain under way, on a clock that a test moves."""

    def __init__(self, half):
        loop = asyncio.get_running_loop()
        clock, self._ahead = loop.time, 0.0
        loop.time = lambda: clock() + self._ahead
        self._draining = asyncio.create_task(half.drain())

    @property
    def over(self):
        return self._draining.done()

    async def after(self, seconds):
        self._ahead += seconds
        await turns(20)


def test_the_drain_is_bounded_even_for_a_job_that_ignores_its_cancel():
    """Shutdown waits, cancels once, waits for the cleanup, and goes on."""

    async def drain():
        half = correct(RULE, PAIR)
        stop, cancels = asyncio.Event(), []

        async def stubborn():
            while not stop.is_set():
                try:
                    await stop.wait()
                except asyncio.CancelledError:
                    cancels.append("asked")

        half.spawn(stubborn())
        await turns()
        shutdown, progress = Shutdown(half), []
        for seconds in (0, 9, 1.1, 4, 1.1):
            await shutdown.after(seconds)
            progress.append((len(cancels), shutdown.over))
        stop.set()
        await asyncio.wait(half.tasks, timeout=5)

        assert progress == [(0, False), (0, False), (1, False), (1, False), (1, True)]

    run(drain, limit=60)


def test_a_job_spawned_by_a_job_gets_the_rest_of_the_time():
    """The second job may end ten seconds after the drain began, uncancelled."""

    async def drain():
        half = correct(RULE, PAIR)
        first_may_end, second_may_end, ended = asyncio.Event(), asyncio.Event(), []

        async def second():
            await second_may_end.wait()
            ended.append("second")

        async def first():
            await first_may_end.wait()
            half.spawn(second())
            ended.append("first")

        half.spawn(first())
        shutdown = Shutdown(half)
        await shutdown.after(1)
        first_may_end.set()
        await shutdown.after(8.5)
        assert ended == ["first"]
        assert not shutdown.over
        second_may_end.set()
        await shutdown.after(0)

        assert (ended, shutdown.over) == (["first", "second"], True)

    run(drain, limit=60)


def test_a_cancelled_job_has_time_to_clean_up_and_leaves_a_line(caplog):
    """A rollback of four seconds ends before the drain does; the log names the job it cut."""

    async def drain():
        half = correct(RULE, PAIR)
        rolled_back, ended = asyncio.Event(), []

        async def transfer():
            try:
                await asyncio.Event().wait()
            finally:
                await rolled_back.wait()
                ended.append("rolled back")

        half.spawn(transfer())
        await turns()
        shutdown = Shutdown(half)
        await turns()
        await shutdown.after(10.1)
        await shutdown.after(4)
        assert not shutdown.over
        rolled_back.set()
        await shutdown.after(0)

        assert (ended, shutdown.over) == (["rolled back"], True)
        assert "late at shutdown" in caplog.text
        assert "transfer" in caplog.text

    run(drain, limit=60)


def test_a_cleanup_task_put_in_by_a_cancelled_job_is_awaited():
    """What a job hands to the set while it is being cancelled ends before the drain does."""

    async def drain():
        half = correct(RULE, PAIR)
        unlocked, ended = asyncio.Event(), []

        async def unlock():
            await unlocked.wait()
            ended.append("unlocked")

        async def job():
            try:
                await asyncio.Event().wait()
            finally:
                cleanup = asyncio.create_task(unlock())
                half.tasks.add(cleanup)
                cleanup.add_done_callback(half.tasks.discard)

        half.spawn(job())
        await turns()
        shutdown = Shutdown(half)
        await turns()
        await shutdown.after(10.1)
        assert not shutdown.over
        unlocked.set()
        await shutdown.after(0)

        assert (ended, shutdown.over) == (["unlocked"], True)

    run(drain, limit=60)


SERVICE = """
from contextlib import asynccontextmanager
from fastapi import FastAPI

started, asked_to_stop = asyncio.Event(), asyncio.Event()


async def job():
    started.set()
    await asked_to_stop.wait()
    await asyncio.sleep(0.3)
    print("job done")


@asynccontextmanager
async def lifespan(app):
    yield
    asked_to_stop.set()
    await drain()
    print("pools closed")


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def accept() -> str:
    spawn(job())
    await started.wait()
    return "accepted"
"""


@pytest.mark.slow
def test_a_server_that_is_stopped_ends_its_jobs_before_its_pools():
    """Under uvicorn and SIGTERM an accepted job ends, and the pools close after it."""

    async def stop():
        half = correct(RULE, PAIR)
        async with uvicorn(source_of(half) + SERVICE) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"accepted" in await reader.read()
            writer.close()
            server.terminate()
            assert await server.stopped()

            lines = server.log().splitlines()
            assert lines.index("job done") < lines.index("pools closed")

    run(stop, limit=40)
