"""Texts that a PgBouncer in transaction mode writes, or makes the driver write."""

import asyncio
import contextlib
import os
import tempfile

import asyncpg
import psycopg
import pytest
from sqlalchemy import func, select, text

from tests.errors.pooling.engines import end_backend, engine_of, role_of
from tests.harness.errors import produces
from tests.servers.pgbouncer import pgbouncer
from tests.servers.postgres import Database

pytestmark = pytest.mark.slow  # each starts a PgBouncer

UNNAMED = {"statement_cache_size": 0}
ONE_SERVER = {"default_pool_size": 1, "query_wait_timeout": 1}
PID = select(func.pg_backend_pid())


async def moved(pooled, **options):
    """One engine's statement runs on a first server, and again on a second."""
    async with (
        engine_of(pooled, **options) as engine,
        asyncpg.create_pool(pooled.url, min_size=1, max_size=1, **UNNAMED) as pool,
    ):
        async with engine.begin() as connection:
            first = await connection.scalar(PID)
        async with pool.acquire() as other, other.transaction():
            assert await other.fetchval("SELECT pg_backend_pid()") == first
            async with engine.begin() as connection:
                assert await connection.scalar(PID) != first


@produces("pooling", 'prepared statement "__asyncpg_stmt')
async def a_statement_was_prepared_on_another_server(postgres, cured):
    """asyncpg names its statements, and PgBouncer sends a transaction to another server."""
    options = {"connect_args": UNNAMED} if cured else {}
    with pgbouncer(postgres, default_pool_size=2) as pooled:
        await moved(pooled, **options)


@produces("pooling", 'prepared statement "_pg3')
async def a_statement_of_psycopg_was_prepared_there(postgres, cured):
    """psycopg prepares at the sixth execution, on servers that others have used."""
    options = {"prepare_threshold": None} if cured else {}
    with pgbouncer(postgres, default_pool_size=1) as pooled:

        async def use():
            connecting = psycopg.AsyncConnection.connect(pooled.url, **options)
            async with await connecting as connection:
                for _ in range(6):
                    async with connection.transaction():
                        await connection.execute("SELECT 1")

        async with asyncio.TaskGroup() as group:
            group.create_task(use())
            group.create_task(use())


@produces("pooling", "unsupported startup parameter")
async def a_timeout_is_asked_for_at_connect(postgres, cured):
    """A setting of the session is sent at connect; the cure sets it for the role."""
    name = postgres.url.rpartition("/")[2]
    settings = {} if cured else {"server_settings": {"statement_timeout": "10000"}}
    if cured:
        postgres.execute(
            f"ALTER ROLE CURRENT_USER IN DATABASE {name} SET statement_timeout = 10000"
        )
    try:
        with pgbouncer(postgres) as pooled:
            options = {"connect_args": UNNAMED | settings}
            async with engine_of(pooled, **options) as engine, engine.connect() as connection:
                assert await connection.scalar(text("SHOW statement_timeout")) == "10s"
    finally:
        postgres.execute(f"ALTER ROLE CURRENT_USER IN DATABASE {name} RESET statement_timeout")


@produces("pooling", "query_wait_timeout")
async def every_server_is_taken(postgres, cured):
    """A transaction keeps PgBouncer's only server connection; the cure ends it."""
    with pgbouncer(postgres, **ONE_SERVER) as pooled:
        async with (
            engine_of(pooled, connect_args=UNNAMED) as engine,
            engine.connect() as one,
            engine.connect() as two,
        ):
            await one.execute(text("SELECT 1"))
            if cured:
                await one.commit()
            await two.execute(text("SELECT 1"))


@produces("pooling", "no more connections allowed (max_client_conn)")
async def a_client_too_many_connects(postgres, cured):
    """PgBouncer may have one client, and gets two."""
    with pgbouncer(postgres, max_client_conn=2 if cured else 1) as pooled:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(2):
                client = await asyncpg.connect(pooled.url)
                stack.push_async_callback(client.close)


@produces("pooling", "ProtocolViolationError: no such database")
async def a_database_is_not_in_its_list(postgres, cured):
    """A database is asked for that PgBouncer does not list."""
    with tempfile.NamedTemporaryFile(mode="w", prefix="users-", dir="/tmp") as users:
        os.chmod(users.name, 0o644)
        users.write('"postgres" ""')
        users.flush()
        with pgbouncer(postgres, auth_type="trust", auth_file=users.name) as pooled:
            client = await asyncpg.connect((pooled if cured else pooled.named("elsewhere")).url)
            await client.close()


@produces("pooling", "server login has been failing")
async def a_pgbouncer_cannot_log_in(postgres):
    """The role may no longer log in; who comes second is answered from memory."""
    with role_of(postgres) as role:
        url = postgres.url.replace("postgres@", f"{role}@", 1)
        with pgbouncer(Database(url), default_pool_size=1) as pooled:
            client = await asyncpg.connect(pooled.url, **UNNAMED)
            pid = await client.fetchval("SELECT pg_backend_pid()")
            await client.close()
            postgres.execute(f"ALTER ROLE {role} NOLOGIN")
            await end_backend(postgres, pid)
            while True:
                client = await asyncpg.connect(pooled.url, **UNNAMED)
                try:
                    with contextlib.suppress(TimeoutError):
                        await client.execute("SELECT 1", timeout=0.5)
                finally:
                    client.terminate()
