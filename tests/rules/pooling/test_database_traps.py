"""What pooling/database says of an engine: its state, its timeouts, its loop, its process."""

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
import sqlalchemy.exc
from pydantic import PostgresDsn, TypeAdapter
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.pool import NullPool

from tests.harness import confirms
from tests.rules.pooling.test_database_settings import ONE, SELECT, engine_of, query

RULE = "pooling/database"


@confirms(RULE, "state-across-requests")
async def a_session_lock_stays_with_the_connection(postgres):
    """The next user of the connection holds the lock of the one before."""
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    async with engine_of(postgres.asyncpg, **ONE) as engine:
        found = []
        for lock in "pg_advisory_xact_lock", "pg_advisory_lock":
            async with engine.begin() as connection:
                await connection.execute(text(f"SELECT {lock}(1)"))
            found.append(await query(engine, text(held)))

    assert found == [0, 1]


@confirms(RULE, "state-across-requests")
async def a_setting_that_ended_is_empty_not_null(postgres):
    """The first to ask reads NULL, the next an empty string, which is no uuid."""
    setting = "current_setting('app.tenant', true)"
    asked = text(f"SELECT {setting}")
    async with engine_of(postgres.asyncpg, **ONE) as engine:
        found = [await query(engine, asked)]
        async with engine.begin() as connection:
            await connection.execute(text("SELECT set_config('app.tenant', 'alice', true)"))
        found.append(await query(engine, asked))
        with pytest.raises(DBAPIError, match="invalid input syntax for type uuid"):
            await query(engine, text(f"SELECT ({setting})::uuid"))
        found.append(await query(engine, text(f"SELECT NULLIF({setting}, '')::uuid")))

    assert found == [None, "", None]


@confirms(RULE, "nested-checkout")
async def requests_wait_for_each_other(postgres):
    """Two that hold a connection and want another empty a pool of two; with one each, they pass."""
    found = []
    options = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 0.3}
    async with engine_of(postgres.asyncpg, **options) as engine:
        sessions = async_sessionmaker(engine)
        both = asyncio.Barrier(2)

        async def audit(session=None):
            if session is None:
                async with sessions() as own:
                    return await own.scalar(SELECT)
            return await session.scalar(SELECT)

        async def handle(nested):
            async with sessions() as session:
                await session.scalar(SELECT)
                await both.wait()
                return await audit(None if nested else session)

        for nested in True, False:
            handled = [handle(nested), handle(nested)]
            found.append(await asyncio.gather(*handled, return_exceptions=True))

    assert any(isinstance(each, sqlalchemy.exc.TimeoutError) for each in found[0])
    assert found[1] == [1, 1]


@confirms(RULE, "which-timeout")
@pytest.mark.parametrize(
    ("arguments", "error", "sqlstate", "kept"),
    [
        ({"command_timeout": 0.5}, TimeoutError, None, False),
        ({"server_settings": {"statement_timeout": "500"}}, DBAPIError, "57014", True),
    ],
)
async def the_servers_timeout_keeps_the_connection(postgres, arguments, error, sqlstate, kept):
    """asyncpg's own raises no SQLAlchemy error and throws the connection away."""
    pid = text("SELECT pg_backend_pid()")
    async with engine_of(postgres.asyncpg, connect_args=arguments, **ONE) as engine:
        before = await query(engine, pid)
        with pytest.raises(error) as caught:
            await query(engine, text("SELECT pg_sleep(30)"))
        after = await query(engine, pid)

    assert isinstance(caught.value, DBAPIError) is kept
    assert getattr(getattr(caught.value, "orig", None), "sqlstate", None) == sqlstate
    assert (before == after) is kept


@confirms(RULE, "one-loop-one-process")
def an_engine_serves_one_loop(postgres):
    """Another loop fails on the first one's connection, unless none was kept for it."""
    found = []
    for options, disposed in ({}, False), ({}, True), ({"poolclass": NullPool}, False):
        engine = create_async_engine(postgres.asyncpg, **options)
        with asyncio.Runner() as first, asyncio.Runner() as second:
            first.run(query(engine))
            if disposed:
                first.run(engine.dispose())
            try:
                found.append(second.run(query(engine)))
            except RuntimeError:
                found.append(None)
                first.run(engine.dispose())
            second.run(engine.dispose())

    assert found == [None, 1, 1]


FORK = """
import asyncio, os, sys
import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

url, plain = sys.argv[1:]
engine = create_async_engine(url)

async def pid():
    async with engine.connect() as connection:
        return await connection.scalar(text("SELECT pg_backend_pid()"))

async def alive(parents):
    connection = await asyncpg.connect(plain)
    found = await connection.fetch("SELECT 1 FROM pg_stat_activity WHERE pid = $1", parents)
    await connection.close()
    return len(found)

parents = asyncio.run(pid())
for close in False, True:
    child = os.fork()
    if not child:
        async def start():
            await engine.dispose(close=close)
            return await pid()
        os._exit(asyncio.run(start()) == parents)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    print(asyncio.run(alive(parents)), flush=True)  # os._exit() flushes nothing
os._exit(0)
"""


@confirms(RULE, "one-loop-one-process")
def a_childs_dispose_ends_the_parents_backend(postgres):
    """With close=False the backend lives on, with close=True it is gone; both children work."""
    command = [sys.executable, "-W", "ignore", "-c", FORK, postgres.asyncpg, postgres.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)

    assert done.stdout.split() == ["1", "0"], done.stderr


@confirms(RULE, "postgresdsn-objects")
async def an_engine_takes_a_string(postgres):
    """pydantic's object is refused, its text accepted."""
    dsn = TypeAdapter(PostgresDsn).validate_python(postgres.asyncpg)
    with pytest.raises(sqlalchemy.exc.ArgumentError):
        create_async_engine(dsn)

    async with engine_of(str(dsn)) as engine:
        assert await query(engine) == 1
