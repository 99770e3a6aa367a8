"""What sqlalchemy/migrations promises of its backfill: every key, and no deadlock."""

import pytest
from alembic import op
from sqlalchemy import text

from tests.harness import correct
from tests.observers.blocked import blocked, held_up, holding
from tests.rules.sqlalchemy.alembic_project import project, upgrade, upgrading
from tests.rules.sqlalchemy.driving import driven

RULE = "sqlalchemy/migrations"
ORDERS = """
    CREATE TABLE orders (id {type} PRIMARY KEY, total int, cents int);
    INSERT INTO orders SELECT {key}, n, NULL FROM generate_series(-1200, 1200) n
"""
KEYS = {
    "int": ("int", "n"),
    "the lowest int": ("int", "CASE n WHEN 0 THEN -2147483648 ELSE n END"),
    "bigint": ("bigint", "n + 9000000000000000000"),
    "text": ("text", "'k' || n"),
    "uuid": (
        "uuid",
        "CASE n WHEN 0 THEN '00000000-0000-0000-0000-000000000000' ELSE gen_random_uuid() END",
    ),
}


def fill():
    """The rule's backfill."""
    return correct(RULE, "backfill").upgrade


@pytest.mark.parametrize("key", KEYS)
@driven
async def test_a_backfill_reaches_every_key(key, postgres):
    """Keys of any type are filled, from the lowest on, also those that are not above zero."""
    kind, value = KEYS[key]
    postgres.execute(ORDERS.format(type=kind, key=value))

    await upgrade(project(postgres, fill()))

    assert postgres.execute("SELECT count(*) FROM orders WHERE cents = total * 100") == [(2401,)]


@driven
async def test_a_row_that_stays_null_does_not_keep_it_from_ending(postgres):
    """Rows whose new value is NULL are passed once; an empty table has no batch."""
    postgres.execute(ORDERS.format(type="int", key="n"))
    postgres.execute("UPDATE orders SET total = NULL WHERE id > 0")

    await upgrade(project(postgres, fill(), fill()))

    assert postgres.execute("SELECT count(cents) FROM orders") == [(1201,)]


@driven
async def test_an_application_that_locks_in_the_other_order_goes_on(postgres):
    """The backfill gives way by its lock timeout, before PostgreSQL looks for a deadlock."""
    postgres.execute(ORDERS.format(type="int", key="n"))
    async with (
        holding(postgres.url, "UPDATE orders SET total = 7 WHERE id = -300") as application,
        upgrading(project(postgres, fill()), postgres) as migration,
    ):
        await held_up(postgres.url, migration)
        await application.execute("UPDATE orders SET total = 8 WHERE id = -1000")
        await application.execute("COMMIT")
        await migration

    assert postgres.execute(
        "SELECT count(*) FILTER (WHERE cents = total * 100),"
        " sum(cents) FILTER (WHERE id IN (-300, -1000)) FROM orders"
    ) == [(2401, 1500)]


@driven
async def test_rows_that_refer_to_the_batch_can_be_inserted(postgres):
    """A batch holds the lock of an UPDATE that leaves the key alone."""
    postgres.execute(ORDERS.format(type="int", key="n"))
    postgres.execute("CREATE TABLE lines (order_id int REFERENCES orders)")
    async with (
        holding(postgres.url, "UPDATE orders SET total = 7 WHERE id = -300"),
        upgrading(project(postgres, lambda: unhurried(fill())), postgres) as migration,
    ):
        await held_up(postgres.url, migration)
        locked = await blocked(postgres.url, "UPDATE orders SET total = 1 WHERE id = -1000")
        refused = await blocked(postgres.url, "INSERT INTO lines VALUES (-1000)")

    assert (locked, refused) == (True, False)


def unhurried(step):
    """Run a step that waits for locks as long as it takes, so that a test can look at it."""
    with op.get_context().autocommit_block():
        op.get_bind().execute(text("SET lock_timeout = 0"))
    step()


@driven
async def test_what_another_writer_filled_meanwhile_is_kept(postgres):
    """A row that the application fills while the batch waits for it is not filled again."""
    postgres.execute(ORDERS.format(type="int", key="n"))
    async with (
        holding(postgres.url, "UPDATE orders SET cents = 5 WHERE id = 1") as application,
        upgrading(project(postgres, lambda: unhurried(fill())), postgres) as migration,
    ):
        await held_up(postgres.url, migration)
        await application.execute("COMMIT")
        await migration

    assert postgres.execute("SELECT cents FROM orders WHERE id = 1") == [(5,)]
    assert postgres.execute("SELECT count(cents) FROM orders") == [(2401,)]
