"""Texts of asyncpg's own pool and connections, and of what an engine leaves in a loop."""

import asyncio
import contextlib

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.harness.errors import produces


def pool_of(database):
    return asyncpg.create_pool(database.url, min_size=1, max_size=1)


@contextlib.asynccontextmanager
async def connected(database):
    connection = await asyncpg.connect(database.url)
    try:
        yield connection
    finally:
        await connection.close()


@produces("pooling", "is being released to the pool but has")
async def a_listener_is_left_on_a_pooled_connection(postgres_database, cured):
    """A listener is added on a connection of the pool, and the block ends."""
    heard = asyncio.Event()
    async with pool_of(postgres_database) as pool:
        taken = connected(postgres_database) if cured else pool.acquire()
        async with taken as connection:
            await connection.add_listener("news", lambda *_: heard.set())
            if cured:
                await pool.execute("SELECT pg_notify('news', '1')")
                await heard.wait()


@produces("pooling", "connection has been released back to the pool")
async def a_connection_is_kept_after_its_block(postgres_database, cured):
    """A repository keeps the connection it was made with, and is used after the block."""
    async with pool_of(postgres_database) as pool:
        async with pool.acquire() as connection:
            kept = connection
        await (pool if cured else kept).fetch("SELECT 1")


@produces("pooling", "InterfaceError: pool is closed")
async def a_pool_is_used_after_its_end(postgres_database, cured):
    """A consumer still works when the lifespan closes the pool; the cure waits for it first."""
    closed = asyncio.Event()

    async def consume(pool):
        await closed.wait()
        await pool.fetch("SELECT 1")

    async with pool_of(postgres_database) as pool, asyncio.TaskGroup() as group:
        consumer = group.create_task(consume(pool))
        if cured:
            closed.set()
            await consumer
        await pool.close()
        closed.set()


@produces("pooling", "pool is not initialized")
async def a_pool_is_not_awaited(postgres_database, cured):
    """A pool was made and neither awaited nor entered."""
    pool = pool_of(postgres_database)
    async with pool if cured else contextlib.nullcontext():
        await pool.fetch("SELECT 1")


@produces("pooling", "unclosed connection <asyncpg")
async def a_connection_is_never_closed(postgres_database, cured):
    """A connection is dropped; the garbage collector finds it."""

    async def ask():
        connection = await asyncpg.connect(postgres_database.url)
        try:
            await connection.execute("SELECT 1")
        finally:
            if cured:
                await connection.close()

    await ask()


@produces("pooling", "payload string too long")
async def a_notification_holds_all_of_a_row(postgres_database, cured):
    """NOTIFY gets a payload of 8,000 bytes; the cure sends the row's key."""
    payload = "1" if cured else "x" * 8000
    async with connected(postgres_database) as connection:
        await connection.execute("SELECT pg_notify('news', $1)", payload)


@produces("pooling", "Exception terminating connection")
def an_engine_is_used_in_another_loop(postgres_database, cured):
    """An engine that tests its connections is used in one event loop, then in another."""
    engine = create_async_engine(postgres_database.asyncpg, pool_pre_ping=True)

    async def use():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        if cured:
            await engine.dispose()

    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(use())
        try:
            second.run(use())
        finally:
            first.run(asyncio.sleep(0))
