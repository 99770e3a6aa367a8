"""What pooling/database says of asyncpg's own pool."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tests.harness import confirms
from tests.observers.connections import falls_to
from tests.observers.waiting import until

RULE = "pooling/database"
SHOW = "SHOW statement_timeout"


@asynccontextmanager
async def pool_of(postgres, **options):
    """A pool of one, closed at the end whatever is still out."""
    pool = await asyncpg.create_pool(postgres.url, **{"min_size": 1, "max_size": 1} | options)
    try:
        yield pool
    finally:
        pool.terminate()


async def set_timeout(connection):
    await connection.execute("SET statement_timeout = '10s'")


@confirms(RULE, "set-in-a-pools-hook")
async def a_setting_of_init_is_gone_after_a_release(postgres):
    """The first to acquire has the timeout, the second none; in server_settings it stays."""
    found = []
    for options in {"init": set_timeout}, {"server_settings": {"statement_timeout": "10000"}}:
        async with pool_of(postgres, **options) as pool:
            found.append([await pool.fetchval(SHOW) for _ in range(2)])

    assert found == [["10s", "0"], ["10s", "10s"]]


@confirms(RULE, "set-in-a-pools-hook")
async def setup_runs_on_every_acquire(postgres):
    """On one connection acquired three times, init ran once and setup three times."""
    calls = []

    async def init(connection):
        calls.append("init")

    async def setup(connection):
        calls.append("setup")

    async with pool_of(postgres, init=init, setup=setup) as pool:
        for _ in range(3):
            await pool.fetchval("SELECT 1")

    assert calls == ["init", "setup", "setup", "setup"]


@confirms(RULE, "waits-of-asyncpgs-pool")
async def a_query_timeout_does_not_end_the_wait_for_a_connection(postgres):
    """With the only one out, fetch waits on; acquire(timeout=) gives up."""
    async with pool_of(postgres) as pool, pool.acquire():
        fetch = asyncio.create_task(pool.fetchval("SELECT 1", timeout=0.05))
        with pytest.raises(TimeoutError):
            await pool.acquire(timeout=0.3)

        assert not fetch.done()
        fetch.cancel()
        await asyncio.wait({fetch})


@confirms(RULE, "waits-of-asyncpgs-pool")
async def close_waits_for_what_is_out(postgres):
    """It is not done while a connection is; cancelled by wait_for, it terminates it."""
    async with pool_of(postgres) as pool:
        connection = await pool.acquire()
        closing = asyncio.create_task(pool.close())
        await asyncio.wait({closing}, timeout=0.2)
        assert not closing.done()
        await pool.release(connection)
        await asyncio.wait_for(closing, 5)

    async with pool_of(postgres) as pool:
        await pool.acquire()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.close(), 0.1)

        assert await falls_to(0, postgres.url)


@confirms(RULE, "asyncpg-0-30-and-0-31")
async def idle_connections_close_down_to_the_floor(postgres):
    """From 0.32 on min_size connections stay."""
    options = {"min_size": 2, "max_size": 4, "max_inactive_connection_lifetime": 0.05}
    async with pool_of(postgres, **options) as pool:
        taken = [await pool.acquire() for _ in range(4)]
        for connection in taken:
            await pool.release(connection)
        assert await until(lambda: pool.get_size() <= 2)
        assert not await until(lambda: pool.get_size() < 2, limit=0.3)
