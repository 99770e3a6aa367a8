"""Texts of event loops: none, a second one, one of another thread, one that has ended."""

import asyncio
import contextlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import anyio.from_thread
import asyncpg
from fastapi import FastAPI

from tests.harness.errors import produces
from tests.observers import asgi

LATE = """
import threading
from concurrent.futures import ThreadPoolExecutor

threads = ThreadPoolExecutor(1)

def late():
    threading.main_thread().join()
    while True:
        threads.submit(int)

threading.Thread(target=late).start()
"""


async def load():
    await asyncio.sleep(0)
    return "order"


async def asked(handler):
    """Serve one request; raise what leaves the application."""
    app = FastAPI()
    app.get("/")(handler)
    exchange = await asgi.request(app)
    if exchange.error:
        raise exchange.error
    return exchange


@produces("asyncio", "asyncio.run() cannot be called from a running event loop")
async def a_program_is_run_inside_a_loop(cured):
    """A function that ends in asyncio.run, as an env.py of Alembic does, is called in a loop."""

    def upgrade():
        return asyncio.run(load())

    assert (await asyncio.to_thread(upgrade) if cured else upgrade()) == "order"


@produces("asyncio", "This event loop is already running")
async def a_running_loop_is_to_run(cured):
    """A handler without `async` waits for a coroutine by the loop that serves it."""
    loop = asyncio.get_running_loop()

    def blocked():
        return loop.run_until_complete(load())

    def handler():
        return anyio.from_thread.run(load)

    if cured:
        assert (await asked(handler)).json() == "order"
    else:
        blocked()


@produces("asyncio", "Cannot run the event loop while another loop is running")
async def a_function_runs_a_loop_of_its_own(cured):
    """A synchronous method of a client makes a loop for each call."""

    def ask():
        with contextlib.closing(asyncio.new_event_loop()) as loop:
            return loop.run_until_complete(load())

    assert await asyncio.to_thread(ask) if cured else ask()


@produces("asyncio", "There is no current event loop in thread")
async def a_worker_thread_asks_for_its_loop(cured):
    """A handler without `async` asks for an event loop."""

    def handler():
        asyncio.get_event_loop()

    async def made_async():
        asyncio.get_event_loop()

    await asked(made_async if cured else handler)


@produces("asyncio", "no running event loop")
async def a_worker_thread_starts_a_task(cured):
    """A handler without `async` starts a task."""
    loop, tasks = asyncio.get_running_loop(), []

    def handler():
        if cured:
            tasks.append(asyncio.run_coroutine_threadsafe(load(), loop))
        else:
            tasks.append(asyncio.create_task(load()))

    await asked(handler)
    assert await asyncio.wrap_future(tasks[0]) == "order"


@produces("asyncio", "attached to a different loop")
def a_connection_meets_a_second_loop(postgres, cured):
    """A connection is opened in one asyncio.run and used in the next."""

    async def query():
        return await connection.fetchval("SELECT 1")

    # The first loop stays open: the connection can be closed in no other.
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(postgres.url))
        try:
            assert (runner.run(query()) if cured else asyncio.run(query())) == 1
        finally:
            connection.terminate()


@produces("asyncio", "is bound to a different event loop")
def a_lock_meets_a_second_loop(cured):
    """A lock made at import is waited for in two loops."""
    lock = asyncio.Lock()

    async def contend():
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(hold())

    async def hold():
        async with lock:
            await asyncio.sleep(0)

    with asyncio.Runner() as runner:
        runner.run(contend())
        if cured:
            runner.run(contend())
    if not cured:
        asyncio.run(contend())


@produces("asyncio", "Non-thread-safe operation invoked on an event loop other than the current")
def a_thread_calls_the_loop(cured):
    """In debug mode, a thread sets the result that a coroutine waits for."""
    answers = []

    async def main():
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        answer.add_done_callback(answers.append)
        if cured:
            await asyncio.to_thread(loop.call_soon_threadsafe, answer.set_result, "order")
        else:
            await asyncio.to_thread(answer.set_result, "order")
        assert await answer == "order"

    asyncio.run(main(), debug=True)


@produces("asyncio", "cannot schedule new futures after")
async def an_executor_is_closed_too_early(cured):
    """Work is given to an executor after its owner has closed it, and after the program's end."""
    loop, threads = asyncio.get_running_loop(), ThreadPoolExecutor(1)
    work = loop.run_in_executor(threads, int) if cured else None
    await asyncio.to_thread(threads.shutdown)
    if cured:
        assert await work == 0
        return None
    command = [sys.executable, "-c", LATE]
    late = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    try:
        await loop.run_in_executor(threads, int)
    except RuntimeError as error:
        return f"{late.stderr.splitlines()[-1]}\n{type(error).__name__}: {error}"


@produces("asyncio", "Executor shutdown has been called")
def a_task_outlives_its_program(cured):
    """A cleanup starts a task in place of awaiting, and asyncio.run ends meanwhile."""
    busy, release, saves, saved = threading.Event(), threading.Event(), [], []

    async def save():
        try:
            for _ in range(1 if cured else 10**6):
                await asyncio.to_thread(int)
            saved.append(True)
        finally:
            release.set()

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            if cured:
                await save()
            else:
                saves.append(asyncio.create_task(save()))

    def long_job():
        busy.set()
        release.wait(5)

    async def main():
        worker = asyncio.create_task(work())
        await asyncio.sleep(0)
        job = asyncio.get_running_loop().run_in_executor(None, long_job)
        while not busy.is_set():
            await asyncio.sleep(0)
        if cured:
            worker.cancel()
            await asyncio.wait([worker, job])

    asyncio.run(main())
    saves.clear()
    assert saved or not cured


@produces("asyncio", "Not currently running on any asynchronous event loop")
def anyio_is_used_without_a_loop(cured):
    """A task group of anyio is made by a plain function."""

    async def main():
        async with anyio.create_task_group() as group:
            group.start_soon(load)

    anyio.run(main) if cured else anyio.create_task_group()


@produces("asyncio", "Not running inside an AnyIO worker thread")
async def a_thread_of_asyncio_calls_back_by_anyio(cured):
    """Code in a thread that anyio did not start calls a coroutine of the loop by anyio."""
    token = anyio.lowlevel.current_token() if cured else None

    def work():
        return anyio.from_thread.run(load, token=token) if cured else anyio.from_thread.run(load)

    assert await asyncio.to_thread(work) == "order"
