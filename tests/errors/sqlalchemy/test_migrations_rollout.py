"""Texts of a service whose database has changed, lacks something, or belongs to somebody else."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import psycopg
import pytest
import sqlalchemy as sa
from alembic import op
from sqlalchemy import NullPool, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from tests.errors.sqlalchemy.migrated import Project
from tests.harness.errors import produces

WIDER = "ALTER TABLE users ALTER COLUMN name TYPE varchar(60)"
USERS = "CREATE TABLE users (id int, name varchar(20))"


@asynccontextmanager
async def connected(url: str, **options) -> AsyncGenerator[AsyncConnection, None]:
    """A connection in a transaction, of an engine of its own."""
    engine = create_async_engine(url, poolclass=NullPool, **options)
    async with engine.begin() as connection:
        yield connection


@asynccontextmanager
async def as_role(postgres) -> AsyncGenerator[tuple[AsyncConnection, str], None]:
    """A connection of a role that has what everybody has, and its name."""
    role = f"{make_url(postgres.url).database}_app"
    postgres.execute(f"DROP ROLE IF EXISTS {role}; CREATE ROLE {role}")
    postgres.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
    try:
        async with connected(postgres.asyncpg) as connection:
            await connection.execute(text(f"SET ROLE {role}"))
            yield connection, role
    finally:
        postgres.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@produces("sqlalchemy", "cached statement plan is invalid")
async def a_column_changes_under_a_connection(postgres, cured):
    """A migration widens a column that a pooled connection has read before."""
    postgres.execute(USERS)
    engine = create_async_engine(postgres.asyncpg, pool_size=1)

    async def read():
        async with engine.begin() as connection:
            await connection.execute(text("SELECT name FROM users"))

    try:
        await read()
        postgres.execute(WIDER)
        try:
            await read()
        except DBAPIError as error:
            if not cured or type(error.orig).__name__ != "InvalidCachedStatementError":
                raise
            await read()
    finally:
        await engine.dispose()


@produces("sqlalchemy", "cached plan must not change result type")
async def a_column_changes_under_psycopg(postgres, cured):
    """The same with psycopg, which prepares what it has sent often."""
    postgres.execute(USERS)
    never = {"prepare_threshold": None} if cured else {}
    async with await psycopg.AsyncConnection.connect(postgres.url, **never) as connection:
        for _ in range(7):
            await connection.execute("SELECT name FROM users")
            await connection.commit()
        postgres.execute(WIDER)
        await connection.execute("SELECT name FROM users")


def create_users() -> None:
    op.create_table("users", sa.Column("id", sa.Integer), sa.Column("name", sa.Text))


@produces("sqlalchemy", "UndefinedTable")
def nobody_ran_the_migrations(postgres, tmp_path, cured):
    """A service reads a table that only a revision makes."""
    project = Project(tmp_path, postgres)
    project.revision("1", create_users)
    if cured:
        project.upgrade()

    async def read():
        async with connected(postgres.asyncpg) as connection:
            await connection.execute(text("SELECT * FROM users"))

    asyncio.run(read())


@produces("sqlalchemy", "UndefinedColumn")
def a_revision_reads_what_a_later_one_adds(postgres, tmp_path, cured):
    """A data migration imports the application's model, which has a newer column."""
    users = sa.table("users", sa.column("id"))
    model = sa.Table(
        "users", sa.MetaData(), sa.Column("id", sa.Integer), sa.Column("age", sa.Integer)
    )

    def fill():
        bind, table = op.get_bind(), users if cured else model
        try:
            with bind.begin_nested():
                bind.execute(sa.insert(table).values({table.columns.values()[-1]: 1}))
        except sa.exc.ProgrammingError as error:
            logging.getLogger("alembic").error("not filled: %s", error)
        bind.execute(sa.select(table))

    project = Project(tmp_path, postgres)
    project.revision("1", create_users)
    project.revision("2", fill, after="1")
    project.revision("3", lambda: op.add_column("users", sa.Column("age", sa.Integer)), after="2")
    project.upgrade()


@produces("sqlalchemy", "permission denied for schema public")
async def a_role_creates_in_public(postgres, cured):
    """The service's role makes its tables itself."""
    async with as_role(postgres) as (connection, role):
        if cured:
            postgres.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
        await connection.execute(text("CREATE TABLE mine (id int)"))


@produces("sqlalchemy", "permission denied for table")
async def a_role_reads_a_table_of_another(postgres, cured):
    """Migrations run as one role, and the service as another that was granted nothing."""
    async with as_role(postgres) as (connection, role):
        if cured:
            postgres.execute(
                f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {role}"
            )
        postgres.execute(USERS)
        await connection.execute(text("SELECT * FROM users"))


@produces("sqlalchemy", "must be owner of")
async def a_role_alters_a_table_of_another(postgres, cured):
    """A table was made by one role, and a revision runs as another."""
    postgres.execute(USERS)
    async with as_role(postgres) as (connection, role):
        if cured:
            postgres.execute(f"ALTER TABLE users OWNER TO {role}")
        await connection.execute(text(WIDER))


@pytest.mark.slow  # PostgreSQL waits five seconds for the others to leave
@produces("sqlalchemy", "is being accessed by other users")
async def a_database_in_use_is_dropped(postgres, cured):
    """A test's database is dropped while its pool holds a connection."""
    name = f"{make_url(postgres.url).database}_spare"
    postgres.execute(f"CREATE DATABASE {name}")
    try:
        async with await psycopg.AsyncConnection.connect(postgres.named(name).url):
            postgres.execute(f"DROP DATABASE {name}{' WITH (FORCE)' if cured else ''}")
    finally:
        postgres.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@produces("sqlalchemy", "CREATE DATABASE cannot run inside a transaction block")
async def a_database_is_created_in_a_transaction(postgres, cured):
    """SQLAlchemy has begun a transaction before the command."""
    name = f"{make_url(postgres.url).database}_spare"
    options = {"isolation_level": "AUTOCOMMIT"} if cured else {}
    async with connected(postgres.asyncpg, **options) as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
        await connection.execute(text(f"DROP DATABASE {name}"))


@produces("sqlalchemy", "function uuid_generate_v4() does not exist")
async def a_function_of_an_extension_is_missing(postgres, cured):
    """A default calls a function of an extension that this database does not have."""
    function = "gen_random_uuid()" if cured else "uuid_generate_v4()"
    async with connected(postgres.asyncpg) as connection:
        await connection.execute(text(f"CREATE TABLE users (id uuid DEFAULT {function})"))
