"""Texts of connections that end while someone has them, or while nobody looks."""

import asyncio

import psycopg
import pytest
from sqlalchemy import event, exc, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.util import greenlet_spawn

from tests.errors.pooling.engines import busy, end_backend, engine_of, way_to
from tests.harness.errors import produces

SLOW = select(func.pg_sleep(30))


def refuse_closed(connection, *_):
    if connection.driver_connection.is_closed():
        raise exc.DisconnectionError


@produces("pooling", "connection was closed in the middle of operation")
async def a_link_breaks_during_a_statement(postgres_database):
    """What stands between service and server closes the link while a statement runs."""
    async with way_to(postgres_database) as way:
        url = way.url(postgres_database).replace("postgresql", "postgresql+asyncpg", 1)
        async with engine_of(url) as engine, engine.connect() as connection:
            slow = asyncio.create_task(connection.execute(SLOW))
            await busy(postgres_database)
            way.close()
            await slow


@produces("pooling", "terminating connection due to administrator command")
async def a_backend_is_ended_during_a_statement(postgres_database):
    """An administrator ends the session while a statement runs."""
    async with engine_of(postgres_database) as engine, engine.connect() as connection:
        pid = await connection.scalar(select(func.pg_backend_pid()))
        slow = asyncio.create_task(connection.execute(SLOW))
        await busy(postgres_database)
        await end_backend(postgres_database, pid)
        await slow


async def die(database, driver):
    """The server ends a connection, and its driver knows."""
    await end_backend(database, driver.get_server_pid())
    while not driver.is_closed():
        await asyncio.sleep(0)


async def in_the_pool(database, engine, cured):
    """It lay in the pool; the cure looks at each checkout."""
    if cured:
        event.listen(engine.sync_engine, "checkout", refuse_closed)
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
    await die(database, driver)
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


async def in_a_transaction(database, engine, cured):
    """It was held over a slow call, and is looked at too; the cure gives it back before."""
    event.listen(engine.sync_engine, "checkout", refuse_closed)
    async with AsyncSession(engine) as session:
        await session.execute(text("SELECT 1"))
        held = await (await session.connection()).get_raw_connection()
        driver = held.driver_connection
        if cured:
            await session.commit()
        await die(database, driver)
        await session.execute(text("SELECT 2"))


@pytest.mark.parametrize("lose", [in_the_pool, in_a_transaction])
@produces("pooling", "InterfaceError) connection is closed", where="sqlalchemy>=2.1")
async def a_connection_has_died(postgres_database, cured, lose):
    """The server ended a connection before its next statement."""
    async with engine_of(postgres_database, pool_size=1) as engine:
        await lose(postgres_database, engine, cured)


@produces("pooling", "the underlying connection is closed")
async def a_transaction_lay_idle_for_too_long(postgres_database, cured):
    """The server ends the session while a use case makes a slow call in its transaction."""
    async with engine_of(postgres_database) as engine:

        async def call(connection):
            """Outlasts idle_in_transaction_session_timeout."""
            driver = (await connection.get_raw_connection()).driver_connection
            while not (cured or driver.is_closed()):
                await asyncio.sleep(0.005)

        async with engine.connect() as connection:
            await connection.execute(text("SET idle_in_transaction_session_timeout = 20"))
            if cured:
                await connection.commit()
            await call(connection)
            await connection.commit()


@produces("pooling", "Exception during reset or similar")
async def a_broken_connection_goes_back(postgres_database):
    """A driver's connection, taken from the pool for a COPY, dies and goes back."""
    async with engine_of(postgres_database) as engine:
        taken = await engine.raw_connection()
        await greenlet_spawn(taken.cursor().execute, "SELECT 1")
        await end_backend(postgres_database, taken.driver_connection.get_server_pid())
        while not taken.driver_connection.is_closed():
            await asyncio.sleep(0)
        await greenlet_spawn(taken.close)


@produces("pooling", "terminating connection due to idle-in-transaction timeout")
async def a_transaction_of_psycopg_lay_idle_for_too_long(postgres_database):
    """The same, read by psycopg."""
    url, options = postgres_database.url, "-c idle_in_transaction_session_timeout=20"
    async with await psycopg.AsyncConnection.connect(url, options=options) as connection:
        await connection.execute("SELECT 1")
        alive = f"SELECT pid FROM pg_stat_activity WHERE pid = {connection.info.backend_pid}"
        while await asyncio.to_thread(postgres_database.execute, alive):
            pass
        await connection.execute("SELECT 1")


@produces("pooling", "server closed the connection unexpectedly")
async def libpq_s_link_breaks_during_a_statement(postgres_database):
    """What stands between service and server closes the link of a psycopg connection."""
    async with way_to(postgres_database) as way:
        connection = await psycopg.AsyncConnection.connect(way.url(postgres_database))
        slow = asyncio.create_task(connection.execute("SELECT pg_sleep(30)"))
        await busy(postgres_database)
        way.close()
        await slow


@produces("pooling", "OperationalError: the connection is closed")
async def psycopg_s_connection_is_used_after_its_end(postgres_database, cured):
    """A connection that broke is used again; the cure takes a new one for each unit of work."""
    url = postgres_database.url
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await end_backend(postgres_database, connection.info.backend_pid)
        try:
            await connection.execute("SELECT 1")
        except psycopg.OperationalError:
            if not cured:
                await connection.execute("SELECT 1")
    if cured:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await connection.execute("SELECT 1")


@produces("pooling", "canceling statement due to statement timeout")
async def a_statement_takes_too_long(postgres_database, cured):
    """A statement takes longer than the connection's statement_timeout."""
    settings = {"server_settings": {"statement_timeout": "200"}}
    options = {"connect_args": settings}
    async with engine_of(postgres_database, **options) as engine, engine.begin() as connection:
        if cured:
            await connection.execute(text("SET LOCAL statement_timeout = '1min'"))
        await connection.execute(select(func.pg_sleep(0.25 if cured else 30)))


@produces("pooling", "cannot execute INSERT in a read-only transaction")
async def a_standby_is_written_to(postgres, cured):
    """A write goes to a server that only reads, as a standby does."""
    settings = {} if cured else {"default_transaction_read_only": "on"}
    arguments = {"target_session_attrs": "read-write"} if cured else {}
    postgres.execute("CREATE TABLE items (id int)")
    arguments["server_settings"] = settings
    async with engine_of(postgres, connect_args=arguments) as engine, engine.begin() as connection:
        await connection.execute(text("INSERT INTO items VALUES (1)"))
