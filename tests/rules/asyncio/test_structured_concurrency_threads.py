"""Tests of rules/asyncio/structured-concurrency.md: threads and second loops."""

import asyncio
import contextvars
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import anyio.from_thread
import pytest
from fastapi import FastAPI

from tests.harness import confirms, correct
from tests.observers.asgi import request
from tests.observers.loop_lag import loop_lag
from tests.observers.waiting import reached, turns, until

caller: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default="nobody")


@confirms("asyncio/structured-concurrency", "shared-default-executor")
async def name_resolution_waits_behind_jobs_in_the_default_executor():
    """With as many jobs as it has threads no name is resolved; with an own executor they are."""
    loop, gate, started = asyncio.get_running_loop(), threading.Event(), []
    counted = getattr(os, "process_cpu_count", os.cpu_count)
    size = min(32, (counted() or 1) + 4)

    def work():
        started.append(1)
        gate.wait(10)

    async def resolves(limit):
        lookup = asyncio.create_task(loop.getaddrinfo("127.0.0.1", 80))
        done, _ = await asyncio.wait({lookup}, timeout=limit)
        return lookup, bool(done)

    with ThreadPoolExecutor(size) as own:
        jobs = [loop.run_in_executor(own, work) for _ in range(size + 1)]
        assert await until(lambda: len(started) == size)
        _, resolved = await resolves(limit=5)
        assert resolved
        gate.set()
        await asyncio.gather(*jobs)

    gate.clear()
    started.clear()
    jobs = [asyncio.create_task(asyncio.to_thread(work)) for _ in range(size + 1)]
    try:
        assert await until(lambda: len(started) == size)
        lookup, resolved = await resolves(limit=0.2)
        assert not resolved
        assert len(started) == size
    finally:
        gate.set()
    await asyncio.gather(lookup, *jobs)


@confirms("asyncio/structured-concurrency", "executor-in-a-with-block")
async def leaving_the_with_block_blocks_the_loop_until_the_thread_ends():
    """After a timeout the loop stands still for as long as the job; `aclose` lets it go on."""
    half = correct("asyncio/structured-concurrency", "let-the-executor-be-the-limit")
    loop, started, leaving, went_on = asyncio.get_running_loop(), asyncio.Event(), None, []

    def work(page=""):
        loop.call_soon_threadsafe(started.set)
        assert leaving.wait(5)
        went_on.append(lag.advances(limit=0.5))
        return b""

    async def give_up(job):
        await reached(started, job)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await job
        started.clear()
        leaving.set()

    with loop_lag() as lag:
        leaving = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            await give_up(loop.run_in_executor(pool, work))
        assert went_on == [False]
        await turns(2)
        assert lag.longest > 0.3

        leaving = threading.Event()
        renderer = half.Renderer(work, 1)
        await give_up(asyncio.create_task(renderer.render("")))
        await renderer.aclose()
        assert went_on == [False, True]


@confirms("asyncio/structured-concurrency", "contextvars-across-threads")
async def only_to_thread_carries_context_and_neither_brings_it_back():
    """run_in_executor sees defaults; what a thread sets is lost in both."""
    loop = asyncio.get_running_loop()

    def read_and_write():
        before = caller.get()
        caller.set("thread")
        return before

    with ThreadPoolExecutor(1) as pool:
        caller.set("request 1")

        assert await loop.run_in_executor(pool, read_and_write) == "nobody"
    assert await asyncio.to_thread(read_and_write) == "request 1"
    assert caller.get() == "request 1"


@confirms("asyncio/structured-concurrency", "a-second-loop")
async def a_sync_handler_reaches_the_servers_loop_through_anyio_only():
    """asyncio.run in a def handler makes another loop; on the loop it raises."""
    app, server_loop = FastAPI(), asyncio.get_running_loop()

    async def on_servers_loop():
        return asyncio.get_running_loop() is server_loop

    @app.get("/run")
    def with_run() -> bool:
        return asyncio.run(on_servers_loop())

    @app.get("/from-thread")
    def with_from_thread() -> bool:
        return anyio.from_thread.run(on_servers_loop)

    assert (await request(app, "/run")).json() is False
    assert (await request(app, "/from-thread")).json() is True
    coroutine = on_servers_loop()
    with pytest.raises(RuntimeError):
        asyncio.run(coroutine)
    coroutine.close()


@confirms("asyncio/structured-concurrency", "a-second-loop")
def a_runner_keeps_one_loop_and_a_module_level_lock_fails_in_the_second():
    """A lock works in two loops until tasks contend for it in both."""
    lock = asyncio.Lock()

    async def loop():
        return asyncio.get_running_loop()

    with asyncio.Runner() as runner:
        assert runner.run(loop()) is runner.run(loop())
    asyncio.run(contend(lock, tasks=1))
    asyncio.run(contend(lock, tasks=1))
    asyncio.run(contend(lock, tasks=2))
    with pytest.raises(RuntimeError):
        asyncio.run(contend(lock, tasks=2))


async def contend(lock, tasks):
    """Let tasks want the same lock at the same time."""

    async def use():
        async with lock:
            await asyncio.sleep(0)

    await asyncio.gather(*(use() for _ in range(tasks)))


@confirms("asyncio/structured-concurrency", "sync-handler-made-async")
async def an_async_handler_blocks_the_loop_where_a_sync_one_does_not():
    """The same blocking call: the loop goes on beside `def`; forty of them run at once."""
    app, gate, started = FastAPI(), threading.Event(), []

    @app.get("/sync")
    def sync() -> bool:
        return lag.advances(limit=0.5)

    @app.get("/async")
    async def not_sync() -> bool:
        return lag.advances(limit=0.5)

    @app.get("/slow")
    def slow() -> None:
        started.append(1)
        gate.wait(10)

    with loop_lag() as lag:
        assert (await request(app, "/sync")).json() is True
        assert (await request(app, "/async")).json() is False
    requests = [asyncio.create_task(request(app, "/slow")) for _ in range(45)]
    try:
        assert await until(lambda: len(started) == 40)
        await turns(20)
        assert len(started) == 40
    finally:
        gate.set()
    await asyncio.gather(*requests)
