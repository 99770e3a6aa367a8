"""What pooling/database says of a PgBouncer in transaction mode, beyond the pair."""

import asyncio
import sys
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.harness import confirms, correct
from tests.observers.waiting import reached, until
from tests.servers.pgbouncer import pgbouncer

RULE = "pooling/database"
SETTINGS = "statement_timeout", "idle_in_transaction_session_timeout"
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
        for setting in SETTINGS:
            with pytest.raises(asyncpg.ProtocolViolationError, match=setting):
                await timeout_through(strict, **{setting: "250"})
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
async def a_session_lock_is_shared_on_its_server(postgres):
    """The next client has it, one on another server has not; in transactions it excludes both."""
    with pgbouncer(postgres, default_pool_size=2) as pooled:
        async with clients(pooled.url, pooled.url) as (one, two):
            await one.execute("SELECT pg_advisory_lock(1)")
            by_session = await two.fetchval("SELECT pg_try_advisory_lock(1)")
            async with one.transaction():
                await one.execute("SELECT pg_advisory_lock(1)")  # it has the same server
                elsewhere = await two.fetchval("SELECT pg_try_advisory_lock(1)")

            async with one.transaction(), two.transaction():
                await one.execute("SELECT pg_advisory_xact_lock(2)")
                by_transaction = await two.fetchval("SELECT pg_try_advisory_xact_lock(2)")

    assert (by_session, elsewhere, by_transaction) == (True, False, False)


@confirms(RULE, "listen-in-a-pool")
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


@confirms(RULE, "asyncpg-0-30-and-0-31")
async def streams_get_their_own_rows_without_names(postgres):
    """Two texts in turns on one connection, by streams and at once."""
    queries = [text(f"SELECT '{name}' || generate_series(1, 2)") for name in ("alice", "bob")]
    build_engine = correct(RULE, "pgbouncer-in-transaction-mode").build_engine
    answers = []
    with pgbouncer(postgres) as pooled:
        engine = build_engine(pooled.asyncpg)
        async with engine.connect() as connection:
            for query in queries * 3:
                answers.append([row async for row in await connection.stream_scalars(query)])
                answers.append(list(await connection.scalars(query)))
        await engine.dispose()

    assert answers == [[f"{name}1", f"{name}2"] for name in ("alice", "alice", "bob", "bob") * 3]


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


@confirms(RULE, "state-across-pgbouncer")
async def a_cursor_of_asyncpgs_own_names_its_statement(postgres):
    """It is left on the server; that of a statement prepared without a name is not."""
    left = []
    with pgbouncer(postgres, default_pool_size=1) as pooled:
        async with clients(pooled.url, pooled.url) as (one, other):
            async with one.transaction():
                statement = await one.prepare("SELECT 42")
                assert [row[0] async for row in statement.cursor()] == [42]
            left.append(await other.fetchval(LEFT))
            async with one.transaction():
                assert [row[0] async for row in one.cursor("SELECT 42")] == [42]
            left.append(await other.fetchval(LEFT))

    assert left == [0, 1]


# It reads by a cursor each time a line comes, made as its argument says.
CURSORS = """
import asyncio, sys
import asyncpg

async def read(connection):
    async with connection.transaction():
        if sys.argv[2] == "prepared":
            statement = await connection.prepare("SELECT 42")
            return [row[0] async for row in statement.cursor()]
        return [row[0] async for row in connection.cursor("SELECT 42")]

async def main():
    connection = await asyncpg.connect(sys.argv[1], statement_cache_size=0)
    for _ in sys.stdin:
        try:
            print(await read(connection), flush=True)
        except asyncpg.DuplicatePreparedStatementError as error:
            print(str(error).splitlines()[0], flush=True)

asyncio.run(main())
"""


@asynccontextmanager
async def reading(url, how):
    """A function that has a process of its own read by a cursor, and returns what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CURSORS, url, how, stdin=-1, stdout=-1
    )

    async def read():
        process.stdin.write(b"\n")
        return (await process.stdout.readline()).decode().strip()

    try:
        yield read
    finally:
        process.stdin.close()
        await process.communicate()


@pytest.mark.slow  # four processes
@confirms(RULE, "state-across-pgbouncer", limit=60)
async def another_process_finds_the_name_of_a_cursor(postgres):
    """The second process finds the first one's statement; prepared without a name, none."""
    found = {}
    for how in "named", "prepared":
        with pgbouncer(postgres, default_pool_size=1) as pooled:
            async with reading(pooled.url, how) as one, reading(pooled.url, how) as two:
                found[how] = [await one(), await two()]

    assert found["named"] == ["[42]", 'prepared statement "__asyncpg_stmt_1__" already exists']
    assert found["prepared"] == ["[42]", "[42]"]
