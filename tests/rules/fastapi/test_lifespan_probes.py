"""Proofs of what a probe should ask and how it should wait, for rules/fastapi/lifespan.md."""

import asyncio
import threading
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.harness import confirms, correct
from tests.observers.asgi import request
from tests.observers.silenced import Silenced
from tests.observers.waiting import turns, until
from tests.rules.fastapi.test_lifespan_ready import service, status

PAGE = "fastapi/lifespan"
PAIR = "readiness-that-answers"
SHORT = 0.03


@confirms(PAGE, "readiness-that-fails-everywhere-at-once")
async def a_shared_cache_takes_out_every_replica():
    """All turn 503 while the page that never uses it works on each; without its check none does."""

    async def cache() -> None:
        raise ConnectionError

    async def page() -> None: ...

    seen = {}
    for checks in ((cache,), ()):
        seen[checks] = set()
        for _ in range(3):
            app, state = service(correct(PAGE, PAIR), *checks)
            app.get("/page")(page)
            seen[checks].add((await status(app, state), await status(app, state, "/page")))

    assert seen == {(cache,): {(503, 200)}, (): {(200, 200)}}


@confirms(PAGE, "readiness-that-fails-everywhere-at-once")
async def a_busy_pool_fails_its_own_check_and_no_other(postgres):
    """Requests hold every connection of a healthy database; a check of its own engine passes."""
    half = correct(PAGE, PAIR)
    engine = create_async_engine(postgres.asyncpg, pool_size=5, max_overflow=0)
    own = create_async_engine(postgres.asyncpg, pool_size=1, max_overflow=0, pool_pre_ping=True)

    def check_of(pool):
        async def check() -> None:
            async with pool.connect() as connection:
                await connection.execute(text("SELECT 1"))

        return check

    shared, alone = service(half, check_of(engine)), service(half, check_of(own))
    idle = [await status(*each) for each in (shared, alone)]
    async with AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(engine.connect())
        half.LIMIT = 0.3
        under_load = await status(*shared)
        half.LIMIT = 5
        alone_under_load = await status(*alone)
    await engine.dispose()
    await own.dispose()

    assert (idle, under_load, alone_under_load) == ([200, 200], 503, 200)


@confirms(PAGE, "probes-that-hang")
async def a_def_liveness_waits_for_a_thread():
    """With 40 sync handlers at work only the async route answers."""
    app, gate, busy = FastAPI(), threading.Event(), []

    @app.get("/work")
    def work() -> None:
        busy.append(1)
        gate.wait(8)

    @app.get("/sync")
    def sync() -> None: ...

    @app.get("/async")
    async def not_sync() -> None: ...

    workers = [asyncio.create_task(request(app, "/work")) for _ in range(40)]
    assert await until(lambda: len(busy) == 40)
    probe = asyncio.create_task(request(app, "/sync"))
    answer = await request(app, "/async")
    await asyncio.wait({probe}, timeout=0.1)

    assert (answer.status, probe.done()) == (200, False)
    gate.set()
    assert (await probe).status == 200
    await asyncio.wait(workers)


@pytest.mark.filterwarnings("ignore")  # the drivers leave their attempts to cancel behind
@confirms(PAGE, "probes-that-hang")
async def a_timeout_waits_for_a_drivers_cleanup(postgres):
    """Once the server is silent, a check goes on at many times its timeout, on both drivers."""

    async def check(engine, limit) -> None:
        async with asyncio.timeout(limit), engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async with Silenced(urlsplit(postgres.url).port) as proxy:
        urls = [proxy.instead_of(url) for url in (postgres.asyncpg, postgres.psycopg)]
        engines = [create_async_engine(url) for url in urls]
        for engine in engines:
            await check(engine, 5)
        proxy.silent = True
        tasks = [asyncio.create_task(check(engine, SHORT)) for engine in engines]
        await asyncio.wait(tasks, timeout=0.3)
        await turns(20)

        assert not any(task.done() for task in tasks)
    await asyncio.wait(tasks)
    assert all(task.exception() is not None for task in tasks)
    for engine in engines:
        await engine.dispose()
