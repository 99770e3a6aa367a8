"""What pooling/database says of a PgBouncer in transaction mode, beyond the pair."""

import asyncio
from contextlib import asynccontextmanager
from importlib.metadata import version
from uuid import uuid4

import asyncpg
import pytest
from packaging.version import Version
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from tests.harness import confirms, correct
from tests.observers.waiting import reached, until
from tests.servers.pgbouncer import pgbouncer

RULE = "pooling/database"
LEFT = "SELECT count(*) FROM pg_prepared_statements"


@asynccontextmanager
async def clients(*urls):
    """A connection to each, none of which names a statement."""
    opened = [await asyncpg.connect(url, statement_cache_size=0) for url in urls]
    try:
        yield opened
    finally:
        for connection in opened:
            await connection.close()


async def timeout_through(pooled, **settings):
    """The statement_timeout of a connection that sends these settings."""
    connection = await asyncpg.connect(
        pooled.url, statement_cache_size=0, server_settings={"application_name": "a"} | settings
    )
    try:
        return await connection.fetchval("SHOW statement_timeout")
    finally:
        await connection.close()


@confirms(RULE, "state-across-pgbouncer")
async def only_the_role_brings_a_timeout(postgres):
    """A startup parameter is refused; ignored, it has no effect; the role's setting has one."""
    name = postgres.url.rpartition("/")[2]
    with pgbouncer(postgres) as strict:
        refused = pytest.raises(asyncpg.ProtocolViolationError)
        with refused:
            await timeout_through(strict, statement_timeout="250")
        assert await timeout_through(strict) == "0"
    with pgbouncer(postgres, ignore_startup_parameters="statement_timeout") as lenient:
        assert await timeout_through(lenient, statement_timeout="250") == "0"
    try:
        postgres.execute(f"ALTER ROLE CURRENT_USER IN DATABASE {name} SET statement_timeout = 250")
        with pgbouncer(postgres) as configured:
            assert await timeout_through(configured) == "250ms"
    finally:
        postgres.execute(f"ALTER ROLE CURRENT_USER IN DATABASE {name} RESET statement_timeout")


@confirms(RULE, "state-across-pgbouncer")
async def a_session_lock_excludes_nobody(postgres):
    """Two clients hold one exclusive lock; taken in the transaction, it keeps the second out."""
    with pgbouncer(postgres, default_pool_size=2) as pooled:
        async with clients(pooled.url, pooled.url) as (one, two):
            await one.execute("SELECT pg_advisory_lock(1)")
            by_session = await two.fetchval("SELECT pg_try_advisory_lock(1)")

            async with one.transaction(), two.transaction():
                await one.execute("SELECT pg_advisory_xact_lock(2)")
                by_transaction = await two.fetchval("SELECT pg_try_advisory_xact_lock(2)")

    assert (by_session, by_transaction) == (True, False)


@confirms(RULE, "state-across-pgbouncer")
async def a_listener_hears_nothing(postgres):
    """Of two listeners the direct one is called."""
    heard: dict[str, asyncio.Event] = {"direct": asyncio.Event(), "pooled": asyncio.Event()}
    with pgbouncer(postgres) as pooled:
        async with clients(postgres.url, pooled.url) as (direct, through):
            await direct.add_listener("news", lambda *news: heard["direct"].set())
            await through.add_listener("news", lambda *news: heard["pooled"].set())
            postgres.execute("NOTIFY news")
            await reached(heard["direct"])

            assert not await until(heard["pooled"].is_set, limit=0.1)
            through.terminate()  # its own UNLISTEN would run on any server


async def left_by(postgres, engine_through):
    """How many statements an engine leaves on a server it was moved away from."""
    with pgbouncer(postgres, default_pool_size=2) as pooled:
        engine = engine_through(pooled.asyncpg)
        async with clients(pooled.url) as (other,):
            await scalar(engine)
            async with other.transaction():
                await other.execute("SELECT 1")  # it takes the server, and the engine the second
                await scalar(engine)
                await engine.dispose()
                return await other.fetchval(LEFT)


async def scalar(engine):
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT 42")) == 42


@confirms(RULE, "state-across-pgbouncer")
async def named_statements_stay_on_the_servers(postgres):
    """With names of uuid4 some are there when the engine is gone; without names, none is."""

    def named(url):
        names = {
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: f"__asyncpg_{uuid4()}__",
        }
        return create_async_engine(url, connect_args=names)

    build_engine = correct(RULE, "pgbouncer-in-transaction-mode").build_engine

    assert await left_by(postgres, named) > 0
    assert await left_by(postgres, build_engine) == 0


@confirms(RULE, "state-across-pgbouncer")
async def the_cache_size_alone_is_enough_from_asyncpg_031(postgres):
    """Before, SQLAlchemy's statements are named although the cache is off, and go missing."""

    def uncached(url):
        return create_async_engine(url, connect_args={"statement_cache_size": 0})

    try:
        unnamed = await left_by(postgres, uncached) == 0
    except DBAPIError:
        unnamed = False

    assert unnamed == (Version(version("asyncpg")) >= Version("0.31"))


@confirms(RULE, "state-across-pgbouncer")
async def a_plain_pool_without_a_cache_works(postgres):
    """Two connections that take turns on two servers prepare nothing there."""
    with pgbouncer(postgres, default_pool_size=2) as pooled:
        pool = await asyncpg.create_pool(pooled.url, min_size=4, statement_cache_size=0)
        queries = [pool.fetchval(f"SELECT {number} + $1", 1) for number in range(20)]
        answers = await asyncio.gather(*queries)
        left = await pool.fetchval(LEFT)
        await pool.close()

    assert (answers, left) == (list(range(1, 21)), 0)
