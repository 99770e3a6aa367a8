"""What sqlalchemy/migrations says about locks, replicas and indexes."""

import asyncio
import multiprocessing
import threading

import pytest
from alembic import command, op
from psycopg.errors import UniqueViolation
from sqlalchemy import NullPool, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from tests.harness import confirms, correct
from tests.observers.blocked import blocked, held_up, holding
from tests.observers.waiting import until
from tests.rules.sqlalchemy.alembic_project import project, upgrade, upgrading

RULE = "sqlalchemy/migrations"
ORDERS = """
    CREATE TABLE orders (id serial PRIMARY KEY, sku text, total int);
    INSERT INTO orders (sku, total) VALUES ('a', 1), ('a', 2), ('b', 3)
"""
# Advisory locks of this database: workers of a parallel run share the server.
ADVISORY = """
    SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE locktype = 'advisory' AND granted AND datname = current_database()
"""


async def unsettled(url, migrate):
    """An env.py without lock timeout, lock or retry."""
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)


async def hurried(url, migrate):
    """An env.py with a short lock timeout and no retry."""
    settings = {"server_settings": {"lock_timeout": "50ms"}}
    engine = create_async_engine(url, poolclass=NullPool, connect_args=settings)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)


def build_index(**options):
    with op.get_context().autocommit_block():
        op.create_index("ix_sku", "orders", ["sku"], postgresql_concurrently=True, **options)


def valid_indexes(postgres):
    """Whether each index of this name, at most one, is valid."""
    query = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_sku')"
    return [valid for (valid,) in postgres.execute(query)]


@confirms(RULE, "steps-that-cannot-run-twice")
async def a_writer_passes_while_a_reader_is_open_and_the_migration_is_tried_again(postgres):
    """Without a lock timeout the writer waits for the reader; with it, only the migration does."""
    postgres.execute(ORDERS)
    change = correct(RULE, "short-locks").upgrade
    insertion = "INSERT INTO orders (sku, total) VALUES ('c', 1)"

    async with (
        holding(postgres.url, "SELECT * FROM orders"),
        upgrading(project(postgres, change, run=unsettled), postgres) as migration,
    ):
        await held_up(postgres.url, migration)
        assert await blocked(postgres.url, insertion)

    async with (
        holding(postgres.url, "SELECT * FROM orders") as reader,
        upgrading(project(postgres, change), postgres) as migration,
    ):
        await held_up(postgres.url, migration)
        await asyncio.to_thread(postgres.execute, insertion)
        assert not migration.done()
        await reader.execute("ROLLBACK")
        await migration

    assert valid_indexes(postgres) == [True]


@pytest.mark.slow
@confirms(RULE, "other-advisory-locks")
async def waiting_in_the_lock_function_deadlocks_with_concurrently(postgres):
    """One replica waits in pg_advisory_lock, the other builds an index: one is cancelled."""
    postgres.execute(ORDERS)
    waiting = threading.Event()

    async def run(url, migrate):
        engine = create_async_engine(url, poolclass=NullPool)
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(72)"))
            await connection.commit()
            await connection.run_sync(migrate)

    def build():
        assert waiting.wait(5)
        build_index()

    async with upgrading(project(postgres, build, run=run), postgres) as migration:
        assert await until(lambda: postgres.execute(ADVISORY) == [(1,)])
        other = asyncio.create_task(
            asyncio.to_thread(postgres.execute, "SELECT pg_advisory_lock(72)")
        )
        await held_up(postgres.url, other)
        waiting.set()
        results = await asyncio.gather(migration, other, return_exceptions=True)

    errors = [str(result) for result in results if isinstance(result, Exception)]
    assert len(errors) == 1
    assert "deadlock detected" in errors[0]


@confirms(RULE, "other-advisory-locks")
async def a_transaction_lock_is_gone_after_an_autocommit_block(postgres):
    """pg_advisory_xact_lock, taken in the migration's transaction, does not survive the block."""
    held = []

    def look():
        held.append(op.get_bind().scalar(text(ADVISORY)))

    def change():
        op.execute("SELECT pg_advisory_xact_lock(72)")
        look()
        with op.get_context().autocommit_block():
            look()

    await upgrade(project(postgres, change, run=unsettled))

    assert held == [1, 0]


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # from 3.12, under xdist
@confirms(RULE, "other-advisory-locks")
def replicas_that_poll_all_succeed(postgres):
    """Two processes that start at once end well, though one builds an index concurrently."""
    fork = multiprocessing.get_context("fork")
    together = fork.Barrier(2)

    def create():
        op.execute("CREATE TABLE orders (id serial PRIMARY KEY, sku text)")

    def start():
        config = project(postgres, create, build_index)
        together.wait(10)
        command.upgrade(config, "head")

    replicas = [fork.Process(target=start) for _ in range(2)]
    try:
        for replica in replicas:
            replica.start()
        for replica in replicas:
            replica.join(10)
    finally:
        for replica in replicas:
            replica.kill()

    assert [replica.exitcode for replica in replicas] == [0, 0]
    assert postgres.execute("SELECT version_num FROM alembic_version") == [("2",)]
    assert valid_indexes(postgres) == [True]


@confirms(RULE, "invalid-indexes")
async def if_not_exists_accepts_what_a_failed_build_left(postgres):
    """After duplicates made it fail the rerun succeeds, and the index is as invalid as before."""
    postgres.execute(ORDERS)
    with pytest.raises(IntegrityError):
        await upgrade(project(postgres, lambda: build_index(unique=True)))
    postgres.execute("DELETE FROM orders WHERE id = 2")

    await upgrade(project(postgres, lambda: build_index(unique=True, if_not_exists=True)), "1")
    assert valid_indexes(postgres) == [False]
    plan = "SET enable_seqscan = off; EXPLAIN SELECT * FROM orders WHERE sku = 'a'"
    assert "ix_sku" not in str(postgres.execute(plan))

    await upgrade(project(postgres, second=correct(RULE, "short-locks").upgrade))
    assert valid_indexes(postgres) == [True]


@confirms(RULE, "invalid-indexes")
async def a_lock_timeout_cuts_an_index_build_short(postgres):
    """Waiting for an older transaction counts as waiting for a lock; an invalid index is left."""
    postgres.execute(ORDERS)

    async with holding(postgres.url, "DELETE FROM orders WHERE id = 1"):
        with pytest.raises(DBAPIError) as caught:
            await upgrade(project(postgres, build_index, run=hurried))

    assert caught.value.orig.sqlstate == "55P03"
    assert valid_indexes(postgres) == [False]


@confirms(RULE, "invalid-indexes")
async def an_invalid_unique_index_may_refuse_duplicates_or_take_them(postgres):
    """One that failed on duplicates takes more; one that waited for an old snapshot refuses."""
    insertion = "INSERT INTO orders (sku, total) VALUES ('a', 4)"
    postgres.execute(ORDERS)
    with pytest.raises(IntegrityError):
        await upgrade(project(postgres, lambda: build_index(unique=True)))
    assert valid_indexes(postgres) == [False]
    postgres.execute(insertion)

    postgres.execute("DROP INDEX ix_sku; DELETE FROM orders WHERE id <> 1; CREATE TABLE other ()")
    snapshot = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT * FROM other"
    async with holding(postgres.url, snapshot):
        with pytest.raises(DBAPIError, match="lock timeout"):
            await upgrade(project(postgres, lambda: build_index(unique=True), run=hurried))
    assert valid_indexes(postgres) == [False]
    with pytest.raises(UniqueViolation, match="ix_sku"):
        postgres.execute(insertion)
