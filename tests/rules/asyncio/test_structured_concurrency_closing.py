"""What rules/asyncio/structured-concurrency.md says of closing: queues, threads that hang."""

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import anyio.from_thread
import anyio.to_thread
import pytest

from tests.harness import confirms, correct
from tests.harness.judge import run
from tests.observers.loop_lag import loop_lag
from tests.observers.waiting import turns, until
from tests.servers.uvicorn import uvicorn

RULE = "asyncio/structured-concurrency"


class Gate:
    """A drawing that waits in its thread until it is let through."""

    def __init__(self):
        self.drawing, self._open = 0, threading.Event()

    def draw(self, page):
        self.drawing += 1
        self._open.wait(20)
        return page.encode()

    def open(self):
        self._open.set()


def test_closing_the_renderer_gives_every_waiting_caller_its_page():
    """One caller is in the thread and two are queued; nobody cancelled them, so none is."""

    async def close():
        gate, drawn = Gate(), []
        renderer = correct(RULE, "let-the-executor-be-the-limit").Renderer(gate.draw, 1)

        async def child(page):
            drawn.append(await renderer.render(page))

        async with asyncio.TaskGroup() as group:
            for page in "abc":
                group.create_task(child(page))
            assert await until(lambda: gate.drawing == 1)
            closing = group.create_task(renderer.aclose())
            await turns(20)
            gate.open()
        assert closing.done()
        with pytest.raises(RuntimeError):
            await renderer.render("d")

        assert drawn == [b"a", b"b", b"c"]

    run(close, limit=20)


def test_cancel_futures_cancels_callers_in_the_queue():
    """With it the queued children of a group vanish without an error, as the page says."""

    async def close():
        gate, drawn = Gate(), []
        threads, loop = ThreadPoolExecutor(1), asyncio.get_running_loop()

        async def child(page):
            drawn.append(await loop.run_in_executor(threads, gate.draw, page))

        async with asyncio.TaskGroup() as group:
            for page in "abc":
                group.create_task(child(page))
            assert await until(lambda: gate.drawing == 1)
            threads.shutdown(wait=False, cancel_futures=True)
            gate.open()

        assert drawn == [b"a"]

    run(close, limit=20)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_an_error(limit):
    """A source is not left unread in silence."""
    half, handled = correct(RULE, "share-one-iterator-between-workers"), []

    async def handle(item):
        handled.append(item)

    with pytest.raises(ValueError, match="no worker"):
        asyncio.run(half.process(["a"], handle, limit))

    assert handled == []


def test_a_blocking_source_is_read_by_one_task_in_a_thread():
    """Shared by the workers it keeps the loop from beating; fed through a queue it does not."""

    async def read():
        half, beats, handled = correct(RULE, "share-one-iterator-between-workers"), [], []

        def rows():
            for number in range(3):
                beats.append(lag.advances(limit=0.3))
                yield str(number)

        async def handle(item):
            handled.append(item)

        async def feed(source, queue, workers):
            while (item := await asyncio.to_thread(next, source, None)) is not None:
                await queue.put(item)
            for _ in range(workers):
                await queue.put(None)

        async def worker(queue):
            while (item := await queue.get()) is not None:
                await handle(item)

        with loop_lag() as lag:
            await half.process(rows(), handle, 2)
            assert beats == [False] * 3
            queue = asyncio.Queue(maxsize=2)
            async with asyncio.TaskGroup() as group:
                group.create_task(feed(rows(), queue, 2))
                for _ in range(2):
                    group.create_task(worker(queue))

        assert beats == [False] * 3 + [True] * 3
        assert handled == ["0", "1", "2"] * 2

    run(read, limit=30)


@confirms(RULE, "a-second-loop")
async def a_thread_of_asyncio_or_of_an_executor_needs_the_loop_itself():
    """anyio.from_thread.run works in a thread of anyio only; the other call works in each."""
    loop = asyncio.get_running_loop()

    async def on_this_loop():
        return asyncio.get_running_loop() is loop

    def through_anyio():
        return anyio.from_thread.run(on_this_loop)

    def through_the_loop():
        return asyncio.run_coroutine_threadsafe(on_this_loop(), loop).result(5)

    with ThreadPoolExecutor(1) as own:
        assert await anyio.to_thread.run_sync(through_anyio) is True
        with pytest.raises(RuntimeError):
            await asyncio.to_thread(through_anyio)
        with pytest.raises(RuntimeError):
            await loop.run_in_executor(own, through_anyio)
        reached = [
            await asyncio.to_thread(through_the_loop),
            await loop.run_in_executor(own, through_the_loop),
        ]

    assert reached == [True, True]


SCRIPT = """
import asyncio, socket, sys
from concurrent.futures import ThreadPoolExecutor

port, executor, timeout = sys.argv[1:]

def call():
    client = socket.create_connection(("127.0.0.1", int(port)), timeout=float(timeout) or None)
    print("connected\\n", end="", flush=True)  # one write, as the main thread prints too
    client.recv(1)

async def main():
    own = ThreadPoolExecutor(1) if executor == "own" else None
    asyncio.get_running_loop().run_in_executor(own, call)
    print("main ends\\n", end="", flush=True)

asyncio.run(main())
"""


@contextmanager
def program(port, executor, timeout):
    """Run SCRIPT, which has connected and whose coroutine has ended when the block begins."""
    command = [sys.executable, "-c", SCRIPT, str(port), executor, timeout]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert {process.stdout.readline() for _ in range(2)} == {b"connected\n", b"main ends\n"}
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("executor", ["default", "own"])
@confirms(RULE, "a-thread-that-hangs", limit=30)
def a_program_does_not_exit_before_its_thread_and_a_driver_timeout_frees_it(executor):
    """It is alive until the silent peer lets go; with a timeout in the driver it ends by itself."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with program(port, executor, "0") as hanging:
            with silent.accept()[0]:
                with program(port, executor, "0.2") as bounded:
                    assert bounded.wait(20) == 0
                assert hanging.poll() is None
            assert hanging.wait(20) == 0


@confirms(RULE, "a-thread-that-hangs")
async def closing_waits_for_a_hanging_thread_unless_it_has_a_timeout():
    """A cancel frees the caller and not the thread; the timeout around aclose() is what bounds."""
    gate = Gate()
    renderer = correct(RULE, "let-the-executor-be-the-limit").Renderer(gate.draw, 1)
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await renderer.render("a")
        closing = asyncio.create_task(renderer.aclose())
        await asyncio.wait({closing}, timeout=0.2)
        assert not closing.done()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await renderer.aclose()
    finally:
        gate.open()
    await closing


SERVICE = """
import asyncio, threading
from fastapi import FastAPI

app = FastAPI()


def hang():
    print("hangs now", flush=True)
    threading.Event().wait()


@app.get("/")
async def handler():
    await asyncio.to_thread(hang)
"""


@pytest.mark.slow
@confirms(RULE, "a-thread-that-hangs", limit=60)
async def uvicorn_ends_by_sigterm_and_not_by_ctrl_c():
    """After either signal it has finished its work; only the one it raises again ends it."""

    async def ended_by(number, limit):
        async with uvicorn(SERVICE, "--timeout-graceful-shutdown", "0") as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await server.logged("hangs now")
            server.process.send_signal(number)
            assert await server.logged("Finished server process")
            ended = await server.stopped(limit)
            writer.close()
            return ended

    ended = await asyncio.gather(ended_by(signal.SIGTERM, 10), ended_by(signal.SIGINT, 0.5))

    assert ended == [True, False]
