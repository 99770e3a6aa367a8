"""Texts of procrastinate's queue and of a Redis client."""

import asyncio
import contextlib
import json

import procrastinate
import psycopg
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine

from tests.harness.errors import produces
from tests.servers.ports import free_port

OK = b"+OK\r\n"
ONCE = {"protocol": 2, "retry": None}  # options of a client that tries once


@pytest.fixture(scope="module")
def queue(postgres_database):
    """A database with procrastinate's tables."""
    postgres_database.empty()
    schema = procrastinate.schema.SchemaManager.get_schema()
    with psycopg.connect(postgres_database.url, autocommit=True) as connection:
        connection.execute(schema)
    return postgres_database


def queue_app(database, **options):
    """procrastinate on a database."""
    connector = procrastinate.PsycopgConnector(conninfo=database.url, **options)
    return procrastinate.App(connector=connector)


@produces("fastapi", "App was not open. Procrastinate App needs to be opened")
async def a_job_is_deferred_before_the_app_is_open(queue, cured):
    """The lifespan does not open procrastinate's application."""
    app = queue_app(queue)

    @app.task(name="receipt")
    async def receipt() -> None: ...

    async with app.open_async() if cured else contextlib.nullcontext():
        await receipt.defer_async()


@produces("fastapi", "procrastinate.exceptions.ConnectorException")
async def the_queue_has_no_tables(queue, cured):
    """A job is deferred where procrastinate's schema was never applied."""
    app = queue_app(queue, **({} if cured else {"kwargs": {"options": "-c search_path=pg_temp"}}))

    @app.task(name="receipt")
    async def receipt() -> None: ...

    async with app.open_async():
        await receipt.defer_async()


@produces("fastapi", "there is already a job in the queue with the queueing lock")
async def a_job_waits_already(queue, cured):
    """A job with this lock is in the queue."""
    app, name = queue_app(queue), f"report-{cured}"

    @app.task(name=name, queueing_lock=name)
    async def report() -> None: ...

    async with app.open_async():
        for _ in range(2):
            if cured:
                with contextlib.suppress(procrastinate.exceptions.AlreadyEnqueued):
                    await report.defer_async()
            else:
                await report.defer_async()


@produces("fastapi", "Task was not found")
async def the_worker_does_not_know_the_task(queue, cured):
    """A worker takes a job whose task's module it has not imported."""
    app, name = queue_app(queue), f"lost-{cured}"

    async def task() -> None: ...

    async with app.open_async():
        await app.configure_task(name, queue=name).defer_async()
        if cured:
            app.task(task, name=name)
        await app.run_worker_async(wait=False, queues=[name], install_signal_handlers=False)


@produces("fastapi", "got an unexpected keyword argument 'row_factory'")
async def a_job_is_deferred_on_asyncpgs_connection(queue, cured):
    """The engine's driver is asyncpg, and procrastinate speaks to psycopg."""
    app = queue_app(queue)
    engine = create_async_engine(queue.psycopg if cured else queue.asyncpg)

    @app.task(name="receipt")
    async def receipt() -> None: ...

    try:
        async with app.open_async(), engine.begin() as connection:
            raw = await connection.get_raw_connection()
            await receipt.configure(connection=raw.driver_connection).defer_async()
    finally:
        await engine.dispose()


@contextlib.asynccontextmanager
async def answering(reply, *, hang_ups=0):
    """The port of a server that gives this answer to each command of Redis's protocol; None: never.

    It hangs up on the first `hang_ups` connections instead.
    """

    async def accept(reader, writer):
        writers.append(writer)
        hangs_up = len(writers) <= hang_ups
        while lines := await reader.read(65536):
            if hangs_up:
                writer.write_eof()
            elif reply is not None:
                writer.write(reply * lines.count(b"*"))
        writer.close()

    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


@produces("fastapi", "Error 111 connecting to")
async def nobody_listens_at_the_redis_port(cured):
    """No Redis listens at this port."""
    async with (
        answering(OK) as port,
        Redis(port=port if cured else free_port(), **ONCE) as client,
    ):
        await client.get("key")


@produces("fastapi", "Connection closed by server.")
async def redis_closes_the_connection(cured):
    """Redis closes a connection under a command; redis-py's own retry takes another."""
    options = {"protocol": 2} if cured else ONCE
    async with answering(OK, hang_ups=1) as port, Redis(port=port, **options) as client:
        await client.get("key")


@produces("fastapi", "Timeout reading from")
async def redis_does_not_answer(cured):
    """A command waits longer than `socket_timeout`."""
    reply = OK if cured else None
    async with answering(reply) as port, Redis(port=port, socket_timeout=0.2, **ONCE) as client:
        await client.get("key")


@produces("fastapi", "Invalid input of type: '")
async def a_dict_is_stored_in_redis(cured):
    """A dict as a value, and its JSON."""
    async with answering(OK) as port, Redis(port=port, **ONCE) as client:
        await client.set("key", json.dumps({"a": 1}) if cured else {"a": 1})
