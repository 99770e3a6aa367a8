"""What sqlalchemy/migrations says about trying again: what it costs others, what it repeats."""

import asyncio
import multiprocessing
import time
from contextlib import asynccontextmanager

import pytest
from alembic import command, op
from sqlalchemy import NullPool, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import create_async_engine

from tests.harness import confirms, correct, incorrect
from tests.observers.blocked import held_up, holding
from tests.observers.locks import WAITS
from tests.observers.waiting import until
from tests.rules.sqlalchemy.alembic_project import nothing, project, settled, upgrade, upgrading
from tests.rules.sqlalchemy.driving import driven

RULE = "sqlalchemy/migrations"
ORDERS = "CREATE TABLE orders (id serial PRIMARY KEY, sku text, total int)"
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
FAIL = "DO $$ BEGIN RAISE EXCEPTION 'once' USING ERRCODE = '{}'; END $$"


def add_note():
    op.execute("ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text")


@asynccontextmanager
async def replicas(config, count):
    """Processes that migrate at once, as the task of waiting for them; killed if they stay."""
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=command.upgrade, args=(config, "head")) for _ in range(count)]

    def finish():
        for process in processes:
            process.join(30)

    try:
        for process in processes:
            process.start()
        yield (ended := asyncio.create_task(asyncio.to_thread(finish)))
        await ended
        assert [process.exitcode for process in processes] == [0] * count
    finally:
        for process in processes:
            process.kill()


async def share_of_time_blocked(postgres, run, seconds, count=1):
    """How much of its time a writer waits, from the first wait on, while one reader is open."""
    postgres.execute("DROP TABLE IF EXISTS orders, alembic_version")
    postgres.execute(ORDERS)
    waited = 0.0
    async with (
        holding(postgres.url, "COMMIT") as writer,
        holding(postgres.url, "SELECT * FROM orders") as reader,
        replicas(project(postgres, add_note, run=run), count) as migrations,
    ):
        await held_up(postgres.url, migrations)
        start = time.monotonic()
        while time.monotonic() < start + seconds:
            before = time.monotonic()
            await writer.execute("INSERT INTO orders (sku, total) VALUES ('c', 1)")
            spent = time.monotonic() - before
            waited += spent if spent > 0.03 else 0
            await asyncio.sleep(0.005)
        total = time.monotonic() - start
        await reader.execute("ROLLBACK")
    return waited / total


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # from 3.12, under xdist
@confirms(RULE, "steps-that-cannot-run-twice")
async def writers_pass_for_most_of_the_time(postgres):
    """At a fifth of the page's scale a tenth is lost, though two replicas want to migrate."""
    run = settled(pause=1.0, limit="100ms")

    share = await share_of_time_blocked(postgres, run, 3, count=2)

    assert 0.01 < share < 0.35


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@confirms(RULE, "steps-that-cannot-run-twice", limit=50)
async def writers_pass_for_most_of_the_time_with_the_settings_of_the_page(postgres):
    """Half a second of six is lost; with two seconds and a pause of one, most of the time is."""
    run = correct(RULE, "sql-before-configure").run

    taught = await share_of_time_blocked(postgres, run, 12)
    impatient = await share_of_time_blocked(postgres, settled(pause=1, limit="2s"), 9)

    assert 0.01 < taught < 0.25
    assert impatient > 0.5
    assert taught < impatient / 2


@driven
async def test_the_transaction_in_the_way_is_named(postgres):
    """pg_blocking_pids of the waiting migration is the pid of the reader, who is idle."""
    postgres.execute(ORDERS)
    found = []

    async with (
        holding(postgres.url, "SELECT * FROM orders") as reader,
        upgrading(project(postgres, add_note), postgres) as migration,
    ):
        await until(lambda: bool(found.extend(postgres.execute(WAITS.text)) or found))
        await reader.execute("ROLLBACK")
        await migration

        assert {row[2:4] for row in found} == {(reader.get_server_pid(), "idle in transaction")}


@confirms(RULE, "steps-that-cannot-run-twice")
async def a_transaction_that_stays_makes_the_migration_fail_in_the_end(postgres):
    """After the last try the lock timeout itself is raised."""
    postgres.execute(ORDERS)
    run = settled(pause=0.01, tries=3, limit="50ms")

    async with holding(postgres.url, "SELECT * FROM orders"):
        with pytest.raises(DBAPIError, match="canceling statement due to lock timeout"):
            await upgrade(project(postgres, add_note, run=run))


@confirms(RULE, "other-advisory-locks")
async def a_replica_waits_for_its_turn_without_limit(postgres):
    """It asks more often than it would try, and goes on when the other's connection has ended."""
    asked = f"{SESSIONS} AND query LIKE 'SELECT pg_try%'"
    async with (
        holding(postgres.url, "COMMIT; SELECT pg_advisory_lock(72)") as other,
        upgrading(project(postgres, run=settled(pause=0.01, tries=2)), postgres) as migration,
    ):
        assert await until(lambda: postgres.execute(asked) != [(0,)])
        await asyncio.wait({migration}, timeout=0.5)
        assert not migration.done()
        await other.close()
        await migration

    assert postgres.execute("SELECT version_num FROM alembic_version") == [("2",)]


@confirms(RULE, "other-advisory-locks")
async def the_turn_is_kept_in_the_pause(postgres):
    """No other replica tries while one waits to try again, so more of them block nobody longer."""
    postgres.execute(ORDERS)
    pausing = f"{SESSIONS} AND query = 'ROLLBACK;'"
    held = (
        "SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database"
        " WHERE locktype = 'advisory' AND objid = 72 AND datname = current_database()"
    )
    run = settled(pause=1, limit="50ms")
    async with (
        holding(postgres.url, "SELECT * FROM orders") as reader,
        upgrading(project(postgres, add_note, run=run), postgres) as migration,
    ):
        await held_up(postgres.url, migration)
        assert await until(lambda: postgres.execute(pausing) != [(0,)])
        await asyncio.wait({migration}, timeout=0.1)
        assert postgres.execute(held) == [(1,)]
        await reader.execute("ROLLBACK")
        await migration


@confirms(RULE, "other-advisory-locks")
async def an_unlock_in_finally_comes_before_the_commit(postgres):
    """The next replica gets the lock, and does not see what the first has done."""
    seen = []

    async def run(url, migrate):
        async with create_async_engine(url, poolclass=NullPool).begin() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(72)"))
            try:
                await connection.run_sync(migrate)
            finally:
                await connection.execute(text("SELECT pg_advisory_unlock(72)"))
                seen.extend(
                    postgres.execute("SELECT pg_try_advisory_lock(72), to_regclass('orders')")
                )

    await upgrade(project(postgres, lambda: op.execute(ORDERS), run=run))

    assert seen == [(True, None)]
    assert postgres.execute("SELECT to_regclass('orders')") == [("orders",)]


@confirms(RULE, "other-advisory-locks")
async def an_unlock_in_finally_hides_the_error_of_the_migration(postgres):
    """What is raised is that the transaction is aborted, not why."""

    async def run(url, migrate):
        async with create_async_engine(url, poolclass=NullPool).begin() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(72)"))
            try:
                await connection.run_sync(migrate)
            finally:
                await connection.execute(text("SELECT pg_advisory_unlock(72)"))

    with pytest.raises(DBAPIError, match="current transaction is aborted"):
        await upgrade(project(postgres, lambda: op.execute("SELECT 1 / 0"), run=run))


@confirms(RULE, "steps-that-cannot-run-twice")
async def a_retry_meets_what_the_autocommit_block_left(postgres):
    """The index is there when a later step hits the lock timeout; the page's form stands it."""
    postgres.execute(ORDERS)
    build = "CREATE INDEX CONCURRENTLY ix_sku ON orders (sku)"
    drop = "DROP INDEX CONCURRENTLY IF EXISTS ix_sku"

    def revision(*steps):
        tried = []

        def change():
            with op.get_context().autocommit_block():
                for step in steps:
                    op.execute(step)
            tried.append(1)
            if len(tried) == 1:
                op.execute(FAIL.format("55P03"))

        return change

    with pytest.raises(ProgrammingError, match='relation "ix_sku" already exists'):
        await upgrade(project(postgres, revision(build)))

    await upgrade(project(postgres, revision(drop, build)))
    assert postgres.execute(
        "SELECT indisvalid FROM pg_index WHERE indrelid = 'orders'::regclass"
        " AND indexrelid = 'ix_sku'::regclass"
    ) == [(True,)]


@confirms(RULE, "steps-that-cannot-run-twice")
async def the_revisions_before_are_not_repeated(postgres):
    """With transaction_per_migration a retry begins at the revision that was interrupted."""
    ran = []

    def second():
        ran.append("2")
        if ran.count("2") == 1:
            op.execute(FAIL.format("55P03"))

    await upgrade(project(postgres, lambda: ran.append("1"), second))

    assert ran == ["1", "2", "2"]


@pytest.mark.parametrize("sqlstate", ["55P03", "40P01"])
@confirms(RULE, "steps-that-cannot-run-twice")
async def a_retry_has_the_lock_timeout_again(sqlstate, postgres):
    """A revision that was cut short between the two SETs leaves the next try no endless wait."""
    limits = []

    def change():
        limits.append(op.get_bind().scalar(text("SHOW lock_timeout")))
        if len(limits) == 1:
            with op.get_context().autocommit_block():
                op.execute("SET lock_timeout = 0")
                op.execute(FAIL.format(sqlstate))

    await upgrade(project(postgres, change))

    assert limits == ["500ms", "500ms"]


@confirms(RULE, "steps-that-cannot-run-twice")
async def other_errors_are_raised_at_once(postgres):
    """A duplicate or a wrong statement is not tried again."""
    tried = []

    def change():
        tried.append(1)
        op.execute(FAIL.format("23505"))

    with pytest.raises(DBAPIError, match="once"):
        await upgrade(project(postgres, change))

    assert len(tried) == 1


def test_sql_before_configure_breaks_an_autocommit_block(postgres):
    """The incorrect env.py ends in an AssertionError without a text where a revision has one."""

    def change():
        with op.get_context().autocommit_block():
            op.execute(ORDERS)

    config = project(postgres, change, nothing, run=incorrect(RULE, "sql-before-configure").run)
    with pytest.raises(AssertionError) as caught:
        asyncio.run(upgrade(config))

    assert str(caught.value) == ""
