"""What pooling/database says of an engine: its state, its timeouts, its loop, its process."""

import asyncio
import subprocess
import sys

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


@confirms(RULE, "nested-checkout")
@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize(("how", "passes"), [("own", False), ("passed", True), ("bounded", True)])
async def requests_wait_for_each_other(how, passes, size, postgres):
    """As many as the pool has connections, each of which opens a second session."""
    slots = asyncio.Semaphore(size // 2 if how == "bounded" else size)
    options = {"pool_size": size, "max_overflow": 0, "pool_timeout": 5 if passes else 0.5}
    async with engine_of(postgres.asyncpg, **options) as engine:
        sessions = async_sessionmaker(engine)
        crowd = asyncio.Barrier(size // 2 if how == "bounded" else size)
        first = asyncio.Semaphore(crowd.parties)

        async def helper(session):
            if how == "passed":
                return await session.scalar(SELECT)
            async with sessions() as own:
                return await own.scalar(SELECT)

        async def handle():
            async with slots, sessions() as session:
                await session.scalar(SELECT)
                if not first.locked():  # those who come first hold their connections together
                    await first.acquire()
                    await crowd.wait()
                return await helper(session)

        answers = await asyncio.gather(*(handle() for _ in range(size)), return_exceptions=True)

    failed = [each for each in answers if each != 1]
    assert (failed == []) is passes
    assert all(isinstance(each, sqlalchemy.exc.TimeoutError) for each in failed)


@confirms(RULE, "nested-checkout")
async def tasks_with_sessions_of_their_own_wait_too(postgres):
    """Two requests hold a connection each while the tasks they await want two more."""
    options = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 0.3}
    async with engine_of(postgres.asyncpg, **options) as engine:
        both = asyncio.Barrier(2)

        async def handle():
            async with engine.connect() as connection:
                await connection.execute(SELECT)
                await both.wait()
                return await asyncio.create_task(query(engine))

        answers = await asyncio.gather(handle(), handle(), return_exceptions=True)

    assert any(isinstance(each, sqlalchemy.exc.TimeoutError) for each in answers)


@confirms(RULE, "nested-checkout")
@pytest.mark.parametrize(("part", "passes"), [(2, False), (3, True)])
async def three_levels_need_a_third_of_the_pool(part, passes, postgres):
    """Half of six take all six for two levels and wait for the third; a third of them does not."""
    options = {"pool_size": 6, "max_overflow": 0, "pool_timeout": 5 if passes else 0.3}
    slots, crowd = asyncio.Semaphore(6 // part), asyncio.Barrier(6 // part)
    async with engine_of(postgres.asyncpg, **options) as engine:

        async def handle():
            async with slots, engine.connect() as first, engine.connect() as second:
                await first.execute(SELECT)
                await second.execute(SELECT)
                await crowd.wait()
                return await query(engine)

        answers = await asyncio.gather(*(handle() for _ in range(6)), return_exceptions=True)

    assert (answers == [1] * 6) is passes


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
