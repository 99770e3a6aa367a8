"""Texts of pools and servers that are full, and of transactions that met each other."""

import asyncio
import secrets

import asyncpg
import psycopg_pool
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from tests.errors.pooling.engines import busy, engine_of, role_of
from tests.harness.errors import produces

ITEMS = "CREATE TABLE items (id int PRIMARY KEY, n int); INSERT INTO items VALUES (1, 5), (2, 5)"
TAKE = text("UPDATE items SET n = n - 1 WHERE id = :id")


async def nothing():
    """Between two statements nobody else does anything."""


@produces("pooling", "QueuePool limit of size")
async def every_connection_is_out(postgres_database, cured):
    """A request holds the only connection during a call; the cure ends its block before it."""
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.02}
    async with engine_of(postgres_database, **options) as engine:

        async def other():
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))

        async with AsyncSession(engine) as session:
            await session.execute(text("SELECT 1"))
            if cured:
                await session.commit()
            await other()


@produces("pooling", "couldn't get a connection after")
async def every_connection_of_psycopg_is_out(postgres_database, cured):
    """A request holds the only connection of psycopg's pool while another asks."""
    options = {"min_size": 1, "max_size": 1, "timeout": 0.02, "open": False}
    async with psycopg_pool.AsyncConnectionPool(postgres_database.url, **options) as pool:
        await pool.wait()
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")
            if not cured:
                await pool.getconn()
        async with pool.connection():
            pass


@produces("pooling", "too many connections for role")
async def a_role_has_all_it_may_have(postgres_database, cured):
    """A role with a limit of one connection opens a second; the cure has a pool of one."""
    with role_of(postgres_database, "CONNECTION LIMIT 1") as role:
        url = postgres_database.url.replace("postgres@", f"{role}@", 1)
        async with asyncpg.create_pool(url, min_size=1, max_size=1 if cured else 2) as pool:
            used = asyncio.Barrier(1 if cured else 2)

            async def use():
                async with pool.acquire():
                    await used.wait()

            async with asyncio.TaskGroup() as group:
                for _ in range(2):
                    group.create_task(use())


@produces("pooling", "could not serialize access due to")
async def a_row_was_changed_since_the_snapshot(postgres, cured):
    """Under REPEATABLE READ another transaction changes a row first; the cure begins anew."""
    postgres.execute(ITEMS)
    async with engine_of(postgres, isolation_level="REPEATABLE READ") as engine:
        sessions = async_sessionmaker(engine)

        async def take(meet):
            async with sessions.begin() as session:
                await session.execute(text("SELECT n FROM items WHERE id = 1"))
                await meet()
                await session.execute(TAKE, {"id": 1})

        async def meet():
            async with sessions.begin() as another:
                await another.execute(TAKE, {"id": 1})

        if not cured:
            await take(meet)
        for left in (2, 1, 0):
            try:
                await take(meet if left == 2 else nothing)
                return
            except DBAPIError as error:
                if not left or getattr(error.orig, "sqlstate", None) not in ("40001", "40P01"):
                    raise
            await asyncio.sleep(secrets.randbelow(10) / 1000)


@produces("pooling", "deadlock detected")
async def two_transactions_lock_crosswise(postgres, cured):
    """Two transactions change the same two rows in opposite order; the cure sorts the keys."""
    postgres.execute(ITEMS)
    first = asyncio.Event()
    settings = {"server_settings": {"deadlock_timeout": "20"}}
    async with engine_of(postgres, connect_args=settings) as engine:
        sessions = async_sessionmaker(engine)

        async def buy(*keys, meet):
            async with sessions.begin() as session:
                for key in sorted(keys) if cured else keys:
                    await session.execute(TAKE, {"id": key})
                    await meet()

        async def let_the_other_lock():
            if not first.is_set():
                first.set()
                await busy(postgres, "transactionid")

        async with asyncio.TaskGroup() as group:
            group.create_task(buy(1, 2, meet=let_the_other_lock))
            await first.wait()
            group.create_task(buy(2, 1, meet=nothing))
