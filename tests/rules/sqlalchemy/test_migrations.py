"""Proofs of sqlalchemy/migrations: changes beside writers, imports that can be taken back."""

import pytest
from alembic import op
from sqlalchemy import NullPool
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from tests.harness import proves
from tests.observers.blocked import blocked, held_up, holding
from tests.rules.sqlalchemy.alembic_project import project, upgrade, upgrading

RULE = "sqlalchemy/migrations"
STALL = "SELECT pg_advisory_lock(7)"  # by this a test stops a scan or an update half-way

# Comparing an amount waits while a test holds the lock, so a scan of orders can be caught at work.
SLOW_SCAN = """
    CREATE TYPE amount AS (value int);
    CREATE FUNCTION at_least(amount, int) RETURNS bool LANGUAGE plpgsql SET lock_timeout = 0 AS
        $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN $1.value >= $2; END $$;
    CREATE OPERATOR >= (LEFTARG = amount, RIGHTARG = int, FUNCTION = at_least);
    CREATE TABLE orders (id serial PRIMARY KEY, sku text, total amount);
    INSERT INTO orders (sku, total) SELECT 'a' || n, ROW(n)::amount FROM generate_series(1, 5) n
"""
# Updating row 1500 waits while a test holds the lock; each row counts its updates.
SLOW_UPDATE = """
    CREATE TABLE orders (id serial PRIMARY KEY, total int, cents int, updates int DEFAULT 0);
    INSERT INTO orders (total) SELECT n FROM generate_series(1, 3000) n;
    CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS
        $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NEW; END $$;
    CREATE TRIGGER stall BEFORE UPDATE ON orders FOR EACH ROW WHEN (NEW.id = 1500)
        EXECUTE FUNCTION stall();
    CREATE FUNCTION tally() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.updates := OLD.updates + 1; RETURN NEW; END $$;
    CREATE TRIGGER tally BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION tally()
"""


@proves(RULE, "sql-before-configure")
async def a_successful_upgrade_stores_nothing(half, postgres, caplog):
    """The upgrade runs its revision and ends without an error, and the table is not there."""
    caplog.set_level("INFO", "alembic")

    await upgrade(project(postgres, lambda: op.execute("CREATE TABLE orders ()"), run=half.run))
    assert "Running upgrade" in caplog.text

    table = postgres.execute("SELECT to_regclass('orders')::text")
    return table == [(None,)]


@proves(RULE, "short-locks")
async def a_writer_waits_for_the_migration(half, postgres):
    """A DELETE is blocked while the constraint is checked, or while the index is built."""
    postgres.execute(SLOW_SCAN)
    deletion = "DELETE FROM orders WHERE id = 1"

    async with (
        holding(postgres.url, STALL) as stall,
        upgrading(project(postgres, half.upgrade), postgres) as migration,
    ):
        await held_up(postgres.url, migration)
        during_scan = await blocked(postgres.url, deletion)
        if during_scan:
            await stall.close()
            await migration
            return True
        async with holding(postgres.url, "DELETE FROM orders WHERE id = 5") as older:
            await stall.close()
            await held_up(postgres.url, migration, "INDEX")
            during_build = await blocked(postgres.url, deletion)
            await older.execute("ROLLBACK")
            await migration

    assert postgres.execute(
        "SELECT convalidated, indisvalid FROM pg_constraint, pg_index"
        " WHERE conname = 'ck_total' AND indexrelid = 'ix_sku'::regclass"
    ) == [(True, True)]
    return during_build


@proves(RULE, "backfill")
async def a_row_done_long_ago_is_locked_or_done_again(half, postgres):
    """Row 1 is blocked while the backfill is at row 1500, or not kept when it ends there."""
    postgres.execute(SLOW_UPDATE)
    config = project(postgres, half.upgrade)
    async with (
        holding(postgres.url, STALL),
        upgrading(config, postgres) as migration,
    ):
        await held_up(postgres.url, migration)
        locked = await blocked(postgres.url, "UPDATE orders SET total = 2 WHERE id = 1")
        postgres.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event = 'advisory'"
        )
        with pytest.raises(DBAPIError):
            await migration
    kept = postgres.execute("SELECT cents FROM orders WHERE id = 1") == [(100,)]

    await upgrade(config)
    assert postgres.execute("SELECT DISTINCT cents / total, updates FROM orders") == [(100, 1)]
    return locked or not kept


@proves(RULE, "import")
async def a_rolled_back_import_stays(half, postgres):
    """The caller rolls back, and the rows are in the table."""
    postgres.execute("CREATE TABLE items (sku text PRIMARY KEY, price int, updated_at timestamptz)")
    engine = create_async_engine(postgres.asyncpg, poolclass=NullPool)
    async with AsyncSession(engine) as session:
        await half.load(session, [("a", 1), ("b", 2)])
        await session.commit()
    assert postgres.execute("SELECT sku, price FROM items ORDER BY 1") == [("a", 1), ("b", 2)]

    async with AsyncSession(engine) as session:
        await half.load(session, [("c", 3)])
        await session.rollback()

    stored = postgres.execute("SELECT sku FROM items")
    return ("c",) in stored
