"""How the rule on tuning is known: its pairs, and the curve behind its formula."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from inspect import signature

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.harness import confirms, correct, proves
from tests.observers.asgi import Exchange, request
from tests.observers.checkouts import Checkouts, checkouts
from tests.observers.waiting import until

RULE = "pooling/tuning"
FULL = "answer-503-when-full"


@asynccontextmanager
async def pool(
    url: str, size: int, **options: object
) -> AsyncIterator[tuple[AsyncEngine, Checkouts]]:
    """An engine whose pool has all its connections open, and the watch on it."""
    options = {"max_overflow": 0, "pool_timeout": 60} | options
    engine = create_async_engine(url, pool_size=size, **options)
    try:
        async with AsyncExitStack() as warm:
            for _ in range(size):
                await warm.enter_async_context(engine.connect())
        with checkouts(engine) as seen:
            yield engine, seen
    finally:
        await engine.dispose()


async def offer(rate: float, requests: int, *handlers) -> list[float]:
    """Send each handler the same requests, at random moments; return how long the last took."""
    loop = asyncio.get_running_loop()
    arrivals, due, latencies = random.Random(1), loop.time(), []  # noqa: S311 - no secret

    async def timed(handler) -> None:
        start = loop.time()
        await handler()
        if handler is handlers[-1]:
            latencies.append(loop.time() - start)

    async with asyncio.TaskGroup() as group:
        for _ in range(requests):
            due += arrivals.expovariate(rate)
            await asyncio.sleep(max(0, due - loop.time()))
            for handler in handlers:
                group.create_task(timed(handler))
    return latencies


def asking(engine: AsyncEngine, queries: int = 5, sql: str = "SELECT pg_sleep(0.01)"):
    """A request that runs its queries on one connection, and then works on without it."""

    async def handler() -> None:
        async with engine.connect() as connection:
            for _ in range(queries):
                await connection.execute(text(sql))
        await asyncio.sleep(0.05)

    return handler


@proves(RULE, "size-from-rate-and-hold")
async def most_requests_find_a_pool_of_this_size_full(half, postgres):
    """Under the load by which it was sized, most requests find the pool full."""
    rate, queries = 100, 5
    async with pool(postgres.asyncpg, 12) as (engine, seen):
        latencies = await offer(rate, 20, asking(engine, queries))
    assert seen.taken == len(seen.holds) == 20
    measured = {
        "rate": rate,
        "hold": sum(seen.holds) / len(seen.holds),
        "concurrent": rate * sum(latencies) / len(latencies),
        "queries": queries,
        "share": 30,
    }
    wanted = {name: measured[name] for name in signature(half.pool_size).parameters}

    async with pool(postgres.asyncpg, half.pool_size(**wanted)) as (engine, seen):
        await offer(rate, 40, asking(engine, queries))

    assert seen.taken == 40
    queued = seen.queued
    return queued > 20


def test_the_pool_never_gets_more_than_its_share_nor_none():
    """The correct half caps the need by the share, and never asks for a pool without limit."""
    pool_size = correct(RULE, "size-from-rate-and-hold").pool_size

    assert [pool_size(100, 0.05, share) for share in (20, 10, 7, 0)] == [10, 10, 7, 1]


@pytest.mark.slow  # it offers the load to five pools
@confirms(RULE, "larger-than-needed")
async def requests_cease_to_wait_where_the_formula_says(postgres):
    """The smallest pool at which few requests wait is 0.6 to 1.5 times the computed one."""
    rate, requests, sizes = 40, 60, (3, 5, 10, 14, 20)
    pool_size = correct(RULE, "size-from-rate-and-hold").pool_size
    async with AsyncExitStack() as pools:
        watched = [await pools.enter_async_context(pool(postgres.asyncpg, size)) for size in sizes]
        sql = "SELECT pg_sleep(0.12)"
        await offer(rate, requests, *(asking(engine, 1, sql) for engine, _ in watched))
    hold = sum(watched[-1][1].holds) / requests
    waited = [seen.queued / requests for _, seen in watched]

    knee = next(size for size, share in zip(sizes, waited, strict=True) if share < 0.1)
    assert 0.6 <= knee / pool_size(rate, hold, 99) <= 1.5
    assert waited[0] > 0.5


@pytest.mark.slow
@confirms(RULE, "larger-than-needed")
async def more_connections_than_cores_can_serve_only_hold_longer(postgres):
    """Six times the connections for the same queries: each takes longer, all take about as long."""
    loop, cores = asyncio.get_running_loop(), min(os.cpu_count() or 1, 3)
    small, large = cores * 2, cores * 12
    hold, total = {}, {}
    for size in (small, large):
        async with pool(postgres.asyncpg, size) as (engine, seen):
            start = loop.time()

            async def work() -> None:
                async with engine.connect() as connection:
                    await connection.execute(text("SELECT sum(n) FROM generate_series(1, 2e4) n"))

            await asyncio.gather(*(work() for _ in range(large * 4)))
            total[size] = loop.time() - start
            hold[size] = sum(seen.holds)
    assert hold[large] > 1.5 * hold[small]
    assert total[large] > total[small] / 3


@proves(RULE, "export-the-wait")
async def three_waiting_requests_change_nothing_in_the_export(half, postgres):
    """What is exported while the pool is full is the same with nobody waiting."""
    registry = CollectorRegistry()
    engine = half.make_engine(postgres.asyncpg, registry, pool_size=1, max_overflow=0)
    try:
        async with engine.connect():
            assert registry.get_sample_value("db_pool_in_use") == 1
        with checkouts(engine) as seen:
            async with asyncio.TaskGroup() as group, engine.connect():
                alone = generate_latest(registry)
                for _ in range(3):
                    group.create_task(asking(engine, 1)())
                assert await until(lambda: seen.waiting == 3)
                crowded = generate_latest(registry)
        assert seen.taken == 4
        assert registry.get_sample_value("db_pool_in_use") == 0
    finally:
        await engine.dispose()

    differs = alone != crowded
    return not differs


async def asked_of_a_full_pool(half, url: str) -> Exchange:
    """The answer to a request while another one holds the only connection."""

    @half.app.get("/")
    async def answer() -> int:
        async with engine.connect() as connection:
            return await connection.scalar(text("SELECT 42"))

    async with pool(url, 1, pool_timeout=0.05) as (engine, _):
        served = await request(half.app)
        assert (served.status, served.json()) == (200, 42)
        async with engine.connect():
            return await request(half.app)


@proves(RULE, FULL)
async def a_full_pool_is_not_answered_with_503(half, postgres):
    """The error of the pool goes past the handler."""
    refused = await asked_of_a_full_pool(half, postgres.asyncpg)

    return (refused.status, refused.header("retry-after")) != (503, "1")


@confirms(RULE, "default-pool-timeout")
async def requests_run_after_their_clients_have_left(postgres):
    """By default three clients leave, and three requests run; with a short wait none does."""

    async def ran_too_late(limit: float, **options: object) -> int:
        app, left, late = FastAPI(), asyncio.Event(), 0

        @app.get("/")
        async def answer() -> None:
            nonlocal late
            async with engine.connect():
                late += left.is_set()

        async with pool(postgres.asyncpg, 1, **options) as (engine, seen):
            async with engine.connect():
                clients = [asyncio.create_task(request(app, disconnect=left)) for _ in range(3)]
                assert await until(lambda: seen.queued == 3)
                await until(lambda: not seen.waiting, limit)
                left.set()
            await asyncio.wait(clients)
        return late

    default = create_async_engine(postgres.asyncpg).pool.timeout()
    assert default == 30
    assert await ran_too_late(0.2, pool_timeout=default) == 3
    assert await ran_too_late(5, pool_timeout=0.05) == 0
