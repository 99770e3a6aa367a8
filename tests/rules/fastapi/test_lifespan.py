"""Proofs of what a lifespan opens and closes, for rules/fastapi/lifespan.md."""

import asyncio
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI, Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.harness import confirms, correct, proves
from tests.observers.asgi import request, running
from tests.observers.canceller import each_point
from tests.observers.connections import backends, falls_to
from tests.observers.silenced import Silenced
from tests.observers.waiting import reached, turns

PAGE = "fastapi/lifespan"
PAIR = "close-whatever-was-opened"
SHORT = 0.03


async def ends(task) -> bool:
    """Whether a task ends within many times SHORT, also where timers are late."""
    await asyncio.wait({task}, timeout=0.3)
    await turns(20)
    return task.done()


@proves(PAGE, PAIR, limit=20)
async def a_failure_leaves_connections_open_or_a_silence_holds_the_process(half, postgres):
    """A close or second open that fails, a database or close that hangs: each does harm."""
    url, backends_at_close, fails, engines = postgres.asyncpg, [], "", []
    hanging = asyncio.Event()

    class Cache:
        async def aclose(self) -> None:
            if fails == "hang":
                hanging.set()
                await asyncio.Event().wait()
            backends_at_close.append(len(await backends(postgres.url)))
            if fails == "close":
                raise ConnectionError("cannot close the cache")

    async def open_cache() -> Cache:
        if fails == "open":
            raise ConnectionError("cannot open the cache")
        return Cache()

    def create_engine():
        engines.append(create_async_engine(url))
        return engines[-1]

    app = FastAPI(lifespan=half.lifespan)
    app.state.create_engine, app.state.open_cache = create_engine, open_cache

    @app.get("/")
    async def answer(request: Request) -> int:
        assert isinstance(request.state.cache, Cache)
        async with request.state.engine.connect() as connection:
            return await connection.scalar(text("SELECT 42"))

    async def run() -> str:
        """Serve one request; return the error of startup or shutdown."""
        try:
            async with running(app) as state:
                assert (await request(app, state=state)).json() == 42
                half.LIMIT = SHORT if fails == "hang" else 5
        except RuntimeError as error:
            return str(error)
        return ""

    half.LIMIT = 5
    assert await run() == ""
    assert backends_at_close == [1], "the cache is closed first"
    assert await falls_to(0, postgres.url)

    symptoms = set()
    for fails in ("close", "open", "hang"):
        half.LIMIT = 5
        task = asyncio.create_task(run())
        if fails == "hang":
            await reached(hanging, task)
            await ends(task)
        else:
            assert f"cannot {fails} the cache" in await task
        if engines[-1].pool.checkedin():  # a disposed engine has a new pool
            symptoms.add(fails)
            assert await backends(postgres.url)
            await engines[-1].dispose()
        task.cancel()
        await asyncio.wait({task})
        assert await falls_to(0, postgres.url)

    fails, half.LIMIT = "", SHORT
    async with Silenced(urlsplit(url).port) as proxy:
        proxy.silent = True
        url = proxy.instead_of(url)
        start = asyncio.create_task(run())
        symptoms |= set() if await ends(start) else {"start"}
        start.cancel()
        await asyncio.wait({start})
    assert symptoms in (set(), {"close", "open", "hang", "start"})
    return bool(symptoms)


@pytest.mark.filterwarnings("ignore")  # what the driver leaves of a close that was cut
@confirms(PAGE, "a-shutdown-longer-than-its-grace-period")
async def a_pool_behind_a_silent_network_is_given_up(postgres):
    """asyncpg's close waits for the server, for ever by itself, for LIMIT seconds in the half."""
    half, closed = correct(PAGE, PAIR), []
    half.LIMIT = 5

    class Cache:
        async def aclose(self) -> None:
            closed.append("cache")

    async def open_cache() -> Cache:
        return Cache()

    async with Silenced(urlsplit(postgres.url).port) as proxy:
        url = proxy.instead_of(postgres.asyncpg)
        app = FastAPI()
        app.state.create_engine = lambda: create_async_engine(url)
        app.state.open_cache = open_cache

        async def serve() -> None:
            async with half.lifespan(app):
                half.LIMIT, proxy.silent = SHORT, True

        alone = create_async_engine(url)
        async with alone.connect():
            pass
        stop = asyncio.create_task(serve())
        assert await ends(stop)
        dispose = asyncio.create_task(alone.dispose())

        assert not await ends(dispose)
        assert isinstance(stop.exception(), TimeoutError)
        assert closed == ["cache"]
        dispose.cancel()
        await asyncio.wait({dispose})


class Resource:
    """Stands for an engine and for a cache; it takes its time and knows whether it is open."""

    def __init__(self, name: str, log: set[str], *, broken: bool = False) -> None:
        self.name, self.log, self.broken = name, log, broken
        log.add(name)

    def connect(self):
        return self

    async def __aenter__(self) -> None:
        await asyncio.sleep(0)

    async def __aexit__(self, *_) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise ConnectionError("cannot give the connection back")

    async def aclose(self) -> None:
        self.log.discard(self.name)
        await asyncio.sleep(0)

    dispose = aclose


def resources(*, broken: bool = False) -> tuple[FastAPI, set[str]]:
    """An application to open an engine and a cache, and the names of what is open."""
    app, opened = FastAPI(), set()

    async def open_cache() -> Resource:
        await asyncio.sleep(0)
        return Resource("cache", opened)

    app.state.create_engine = lambda: Resource("engine", opened, broken=broken)
    app.state.open_cache = open_cache
    return app, opened


def test_a_lifespan_cancelled_at_any_await_closes_what_it_opened() -> None:
    """Each close is begun, wherever the cancel arrives."""
    half = correct(PAGE, PAIR)
    app, opened = resources()

    async def serve() -> None:
        async with half.lifespan(app):
            assert opened == {"engine", "cache"}
            await asyncio.sleep(0)

    async def points() -> list[set[str]]:
        return [set(opened) async for _ in each_point(serve)]

    left = asyncio.run(points())

    assert len(left) >= 6
    assert not any(left)


def test_a_connection_that_cannot_be_given_back_closes_the_cache_too() -> None:
    """The cache is owned before the start's connection is left."""
    app, opened = resources(broken=True)

    async def serve() -> None:
        async with correct(PAGE, PAIR).lifespan(app):
            pass

    with pytest.raises(ConnectionError):
        asyncio.run(serve())

    assert opened == set()


@confirms(PAGE, "a-shutdown-longer-than-its-grace-period")
async def a_drain_pushed_last_ends_while_the_pool_is_open(postgres):
    """The job of a request queries at shutdown, and the engine is disposed after it."""
    half, jobs, log = correct(PAGE, PAIR), correct("asyncio/taskgroup", "own-background-tasks"), []
    stopping = asyncio.Event()
    engine = create_async_engine(postgres.asyncpg)
    bounded = half.bounded

    async def dispose() -> None:
        log.append("dispose")
        await engine.dispose()

    async def job() -> None:
        await stopping.wait()
        async with engine.connect() as connection:
            log.append(await connection.scalar(text("SELECT 42")))

    async with half.AsyncExitStack() as stack:
        stack.push_async_callback(bounded, dispose)
        stack.push_async_callback(jobs.drain)
        jobs.spawn(job())
        await asyncio.sleep(0)
        stopping.set()

    assert log == [42, "dispose"]
