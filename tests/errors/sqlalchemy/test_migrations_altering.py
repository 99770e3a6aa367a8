"""Texts of PostgreSQL while a revision changes tables, types and indexes."""

import asyncio
from contextlib import nullcontext

import sqlalchemy as sa
from alembic import command, op
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from tests.errors.sqlalchemy.migrated import Project, migrate
from tests.harness.errors import produces
from tests.observers.blocked import held_up, holding

STATE = sa.Enum("new", "paid", name="state")
ORDERS = """
    CREATE TABLE users (id int PRIMARY KEY); INSERT INTO users VALUES (1);
    CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users, sku text, total text);
    INSERT INTO orders VALUES (1, 1, 'a', '5'), (2, 1, 'a', '-5')
"""


def outside(cured: bool):
    """Where a statement runs: outside of the revision's transaction, or in it."""
    return op.get_context().autocommit_block() if cured else nullcontext()


@produces("sqlalchemy", "DuplicateTable")
def a_table_was_made_by_create_all(postgres, tmp_path, cured):
    """The service made the table when it started, and the revision makes it again."""
    postgres.execute("CREATE TABLE users (id serial PRIMARY KEY)")
    project = Project(tmp_path, postgres)
    project.revision("1", lambda: op.create_table("users", sa.Column("id", sa.Integer)))
    if cured:
        command.stamp(project.config, "head")
    project.upgrade()


@produces("sqlalchemy", "DuplicateObject")
def an_enum_outlives_its_table(postgres, tmp_path, cured):
    """A downgrade drops the table; the type of its column stays for the next upgrade to meet."""

    def upgrade():
        op.create_table("orders", sa.Column("state", sa.Enum("new", "paid", name="state")))

    def downgrade():
        op.drop_table("orders")
        if cured:
            sa.Enum(name="state").drop(op.get_bind())

    project = Project(tmp_path, postgres)
    project.revision("1", upgrade, downgrade=downgrade)
    project.upgrade()
    command.downgrade(project.config, "base")
    project.upgrade()


@produces("sqlalchemy", "UndefinedObjectError: type")
def a_column_comes_before_its_type(postgres, tmp_path, cured):
    """A column of an enum is added to a table that exists."""
    postgres.execute(ORDERS)

    def upgrade():
        if cured:
            STATE.create(op.get_bind(), checkfirst=True)
        op.add_column("orders", sa.Column("state", STATE))

    migrate(tmp_path, postgres, upgrade)


@produces("sqlalchemy", "unsafe use of new value")
def a_new_enum_value_is_used_at_once(postgres, tmp_path, cured):
    """The transaction that adds a value also writes it."""
    postgres.execute("CREATE TYPE state AS ENUM ('new'); CREATE TABLE orders (state state)")

    def upgrade():
        with outside(cured):
            op.execute("ALTER TYPE state ADD VALUE IF NOT EXISTS 'paid'")
        op.execute("UPDATE orders SET state = 'paid'")

    migrate(tmp_path, postgres, upgrade)


@produces("sqlalchemy", "INDEX CONCURRENTLY cannot run inside a transaction block")
def an_index_is_built_inside_the_transaction(postgres, tmp_path, cured):
    """A revision builds an index without stopping writers, in its own transaction."""
    postgres.execute(ORDERS)

    def upgrade():
        with outside(cured):
            op.execute("CREATE INDEX CONCURRENTLY ix_sku ON orders (sku)")

    migrate(tmp_path, postgres, upgrade)


@produces("sqlalchemy", "cannot insert multiple commands into a prepared statement")
def a_script_is_one_statement(postgres, tmp_path, cured):
    """A revision executes two commands in one string."""
    script = "CREATE TABLE a (id int); CREATE TABLE b (id int)"

    def upgrade():
        for statement in script.split(";") if cured else [script]:
            op.execute(statement)

    migrate(tmp_path, postgres, upgrade)


@produces("sqlalchemy", "contains null values")
def a_new_column_may_not_be_null(postgres, tmp_path, cured):
    """A column without default is added as NOT NULL to a table that has rows."""
    postgres.execute(ORDERS)

    def upgrade():
        default = "new" if cured else None
        column = sa.Column("state", sa.Text, nullable=False, server_default=default)
        op.add_column("orders", column)

    migrate(tmp_path, postgres, upgrade)


@produces("sqlalchemy", "is violated by some row")
def a_check_meets_old_rows(postgres, tmp_path, cured):
    """Rows that are there already break the constraint that a revision adds."""
    postgres.execute(ORDERS)

    def upgrade():
        if cured:
            op.execute("UPDATE orders SET total = '0' WHERE total::int < 0")
        op.create_check_constraint("ck_total", "orders", "total::int >= 0")

    migrate(tmp_path, postgres, upgrade)


@produces("sqlalchemy", "could not create unique index")
def an_index_meets_duplicates(postgres, tmp_path, cured):
    """Two rows have one value in the column that becomes unique."""
    postgres.execute(ORDERS)

    def upgrade():
        if cured:
            op.execute(
                "DELETE FROM orders USING orders o WHERE o.sku = orders.sku AND o.id < orders.id"
            )
        op.create_unique_constraint("uq_sku", "orders", ["sku"])

    migrate(tmp_path, postgres, upgrade)


@produces("sqlalchemy", "cannot be cast automatically to type")
def a_text_becomes_a_number(postgres, tmp_path, cured):
    """A column's type is changed to one that PostgreSQL does not convert to by itself."""
    postgres.execute(ORDERS)

    def upgrade():
        using = {"postgresql_using": "total::integer"} if cured else {}
        op.alter_column("orders", "total", type_=sa.Integer, **using)

    migrate(tmp_path, postgres, upgrade)


@produces("sqlalchemy", "because other objects depend on it")
def a_table_goes_before_those_that_refer_to_it(postgres, tmp_path, cured):
    """A downgrade drops tables in the order in which they were made."""
    postgres.execute(ORDERS)

    def upgrade():
        for table in ["orders", "users"] if cured else ["users", "orders"]:
            op.drop_table(table)

    migrate(tmp_path, postgres, upgrade)


@produces("sqlalchemy", "canceling statement due to lock timeout")
async def a_table_is_altered_under_a_reader(postgres, cured):
    """A transaction that has read the table stays open while a column is added."""
    postgres.execute(ORDERS)
    engine = create_async_engine(postgres.asyncpg)

    async def alter():
        async with engine.begin() as connection:
            await connection.execute(text("SET LOCAL lock_timeout = '50ms'"))
            await connection.execute(text("ALTER TABLE orders ADD COLUMN note text"))

    try:
        async with holding(postgres.url, "SELECT FROM orders") as reader:
            try:
                await alter()
            except DBAPIError as error:
                if not cured or error.orig.sqlstate != "55P03":
                    raise
                await reader.execute("ROLLBACK")
                await alter()
    finally:
        await engine.dispose()


@produces("sqlalchemy", "pg_type_typname_nsp_index")
async def two_replicas_create_one_table(postgres, cured):
    """Two processes start at once, and each creates what is not there."""
    create = "CREATE TABLE IF NOT EXISTS users (id int)"
    turn = "SELECT pg_advisory_xact_lock(72)" if cured else "SELECT"

    async def other():
        async with holding(postgres.url, f"{turn}; {create}"):
            pass

    async with holding(postgres.url, f"{turn}; {create}") as first:
        second = asyncio.create_task(other())
        await held_up(postgres.url, second)
        await first.execute("COMMIT")
        await second
