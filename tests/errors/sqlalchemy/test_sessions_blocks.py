"""Texts of a transaction that was begun twice, ended too early, or used after an error."""

import asyncio
import contextlib

import asyncpg
import psycopg
import pytest
from sqlalchemy import event, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from tests.errors.sqlalchemy.shop import Item
from tests.harness.errors import produces
from tests.harness.judge import run


@produces("sqlalchemy", "Can't operate on closed transaction inside context manager")
async def a_repository_commits_in_its_callers_block(shop, cured):
    """A `commit()` inside a `begin()` block, and one more statement."""
    async with shop.sessions() as sessions, sessions.begin() as session:
        session.add(Item(name="pear"))
        await (session.flush() if cured else session.commit())
        await session.scalar(select(Item.name))


@produces("sqlalchemy", "A transaction is already begun on this Session")
async def a_helper_begins_after_a_query(shop, cured):
    """A SELECT has begun the transaction that `begin()` would begin."""
    async with shop.sessions() as sessions, sessions() as session:
        await session.scalar(select(Item.name))
        async with session.begin_nested() if cured else session.begin():
            session.add(Item(name="pear"))
        await session.commit()


@produces("sqlalchemy", "SAVEPOINT can only be used in transaction blocks")
async def a_savepoint_meets_autocommit(shop, cured):
    """An engine in AUTOCOMMIT begins no transaction that a savepoint could be a part of."""
    options = {} if cured else {"isolation_level": "AUTOCOMMIT"}
    async with (
        shop.engine(**options) as engine,
        engine.connect() as connection,
        connection.begin_nested(),
    ):
        await connection.execute(select(1))


async def kept_after_a_cancelled_begin(shop):
    async with shop.asyncpg() as connection:
        beginning = asyncio.create_task(connection.transaction().start())
        await asyncio.sleep(0)
        beginning.cancel()
        await asyncio.wait([beginning])
        # Where the server took the cancel in time, there is no transaction, and the text.
        with contextlib.suppress(asyncpg.NoActiveSQLTransactionError):
            async with connection.transaction():
                await connection.execute("INSERT INTO items VALUES (2, 'pear', 1)")
    async with shop.asyncpg() as another:
        return await another.fetchval("SELECT count(*) FROM items WHERE name = 'pear'")


def test_nothing_is_stored_after_a_cancelled_begin(shop):
    """asyncpg takes the next block for a savepoint in a transaction that nobody commits."""
    assert run(kept_after_a_cancelled_begin, 10, shop=shop) == 0


async def committed_by_hand(shop):
    async with shop.asyncpg() as connection, connection.transaction():
        await connection.execute("COMMIT")
        async with connection.transaction():
            await connection.execute("SELECT 1")


def test_a_commit_by_hand_leaves_an_inner_block_without_a_transaction(shop):
    """Inside a block of asyncpg's, COMMIT ends what its inner block would be a part of."""
    with pytest.raises(asyncpg.NoActiveSQLTransactionError, match="SAVEPOINT can only be"):
        run(committed_by_hand, 10, shop=shop)


@produces("sqlalchemy", "has already initialized a SQLAlchemy Transaction() object")
async def a_connection_begins_after_a_query(shop, cured):
    """The same on a connection: its first statement has begun a transaction."""
    async with shop.engine() as engine, engine.connect() as connection:
        await connection.execute(select(1))
        if cured:
            await connection.commit()
        async with connection.begin():
            await connection.execute(select(1))


@produces("sqlalchemy", "This Session's transaction has been rolled back")
async def a_failed_flush_is_caught(shop, cured):
    """A duplicate is caught around `flush()`, and the session used on."""
    async with shop.sessions() as sessions, sessions() as session:
        with contextlib.suppress(IntegrityError):
            async with session.begin_nested() if cured else contextlib.nullcontext():
                session.add(Item(name="apple"))
                await session.flush()
        await session.scalar(select(Item.name))
        await session.commit()


@produces("sqlalchemy", "current transaction is aborted")
async def a_failed_statement_is_caught(shop, cured):
    """A duplicate is caught around `execute()`, and the transaction used on."""
    async with shop.sessions() as sessions, sessions() as session:
        with contextlib.suppress(IntegrityError):
            async with session.begin_nested() if cured else contextlib.nullcontext():
                await session.execute(insert(Item).values(name="apple"))
        await session.scalar(select(Item.name))
        await session.commit()


@produces("sqlalchemy", "Can't reconnect until invalid transaction is rolled back")
async def a_lost_connection_is_caught(shop, cured):
    """The server ends the connection in mid-transaction; the session is used on, or another is."""
    async with shop.sessions() as sessions:
        async with sessions() as session:
            backend = await session.scalar(select(func.pg_backend_pid()))
            end_connection(shop, backend)
            with contextlib.suppress(DBAPIError):
                await session.scalar(select(1))
            if not cured:
                await session.scalar(select(1))
        async with sessions() as another:
            await another.scalar(select(1))


def end_connection(shop, backend):
    """What a restart, a failover or an administrator does; returns once the process is gone."""
    with psycopg.connect(shop.database.url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 30000)", [backend])


@produces("sqlalchemy", "no further SQL can be emitted within this transaction")
async def a_hook_queries_after_the_commit(shop, cured):
    """An `after_commit` hook runs a query in the session whose transaction has just ended."""

    def audit(session):
        session.execute(text("SELECT pg_notify('items', '')"))

    async with shop.sessions() as sessions, sessions() as session:
        event.listen(session.sync_session, "before_commit" if cured else "after_commit", audit)
        session.add(Item(name="pear"))
        await session.commit()


@produces("sqlalchemy", "This Session has been permanently closed")
async def a_closed_session_is_used(shop, cured):
    """A session that may not come back is used after its block."""
    async with shop.sessions(close_resets_only=False) as sessions:
        async with sessions() as session:
            await session.scalar(select(Item.name))
        async with sessions() if cured else contextlib.nullcontext(session) as later:
            await later.scalar(select(Item.name))


@produces("sqlalchemy", "This transaction is closed")
async def a_transaction_is_committed_twice(shop, cured):
    """The object that `begin()` returned is used after it ended."""
    async with shop.sessions() as sessions, sessions() as session:
        transaction = await session.begin()
        session.add(Item(name="pear"))
        await transaction.commit()
        await (session.commit() if cured else transaction.commit())


@produces("sqlalchemy", "cursor cannot be created outside of a transaction")
async def a_stream_is_committed_halfway(shop, cured):
    """A `commit()` inside the loop over a stream ends the cursor's transaction."""
    numbers = select(func.generate_series(1, 200)).execution_options(yield_per=50)
    async with shop.sessions() as sessions, sessions() as reader, sessions() as writer:
        async for number in await reader.stream_scalars(numbers):
            if number == 10:
                writer.add(Item(name="pear"))
                await writer.commit()
                if not cured:
                    await reader.commit()


@produces("sqlalchemy", "in a manually started transaction")
async def a_transaction_is_begun_by_hand(shop, cured):
    """`BEGIN` is sent as text, then asyncpg's own `transaction()` is entered."""
    async with shop.asyncpg() as connection:
        if cured:
            async with connection.transaction(), connection.transaction():
                await connection.execute("SELECT 1")
            return
        await connection.execute("BEGIN")
        async with connection.transaction():
            await connection.execute("SELECT 1")


@produces("sqlalchemy", "context has not been started and object has not been awaited")
async def a_connection_is_not_entered(shop, cured):
    """`engine.connect()` gives a context manager, not a connection."""
    async with shop.engine() as engine:
        if cured:
            async with engine.connect() as connection:
                await connection.execute(select(1))
            return
        connection = engine.connect()
        await connection.execute(select(1))
