"""What pooling/database says of an engine's settings, by a server that dies or falls silent."""

import asyncio
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from urllib.parse import urlsplit

import pytest
from packaging.version import Version
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from tests.harness import confirms
from tests.observers.blocked import blocked, holding
from tests.observers.connections import backends, falls_to, killed
from tests.servers.postgres import Database

RULE = "pooling/database"
ONE = {"pool_size": 1, "max_overflow": 0}
SELECT = text("SELECT 1")
SILENCE_ENDS = Version(version("asyncpg")) >= Version("0.32")


@asynccontextmanager
async def engine_of(url, **options):
    """An engine, disposed of at the end."""
    engine = create_async_engine(url, **options)
    try:
        yield engine
    finally:
        await engine.dispose()


async def query(engine, statement=SELECT):
    async with engine.connect() as connection:
        return await connection.scalar(statement)


async def stopped(task):
    """Cancel a task until it ends, however often its cleanup begins to wait again."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)


class Wire:
    """A TCP proxy that counts what the client sends, and can swallow what its links carry."""

    def __init__(self, database: Database) -> None:
        self.target = urlsplit(database.url)
        self.sent = 0
        self.silent: set[asyncio.StreamWriter] = set()
        self.writers: list[asyncio.StreamWriter] = []
        self.links: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Wire":
        self.server = await asyncio.start_server(self.join, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        netloc = self.target.netloc.rpartition("@")[0]
        proxied = self.target._replace(netloc=f"{netloc}@127.0.0.1:{port}").geturl()
        self.url = Database(proxied).asyncpg
        return self

    async def __aexit__(self, *error: object) -> None:
        self.server.close()
        self.cut()
        await asyncio.gather(*self.links)

    def silence(self) -> None:
        """Drop what the links of now carry, as a firewall does; later ones work."""
        self.silent.update(self.writers)

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.links += filter(None, [asyncio.current_task()])
        there, back = await asyncio.open_connection(self.target.hostname, self.target.port)
        self.writers += [writer, back]
        with suppress(OSError):
            await asyncio.gather(self.pump(reader, back, 1), self.pump(there, writer, 0))

    async def pump(self, source, sink, count: int) -> None:
        while data := await source.read(65536):
            self.sent += count
            if sink not in self.silent:
                sink.write(data)
        sink.close()


@confirms(RULE, "what-the-settings-leave-open")
async def pre_ping_replaces_what_died_in_the_pool(postgres):
    """After a restart of the server the next request fails, unless its connection is pinged."""
    for ping, fails in (False, True), (True, False):
        async with engine_of(postgres.asyncpg, pool_pre_ping=ping, **ONE) as engine:
            await query(engine)
            assert await killed(postgres.url) == 1
            try:
                failed = await query(engine) != 1
            except DBAPIError:
                failed = True

        assert failed is fails


@confirms(RULE, "what-the-settings-leave-open")
async def a_connection_that_dies_after_checkout_fails_the_request(postgres):
    """Pinged and not older than pool_recycle allows; a second try of the whole unit passes."""
    options = {"pool_pre_ping": True, "pool_recycle": 0, **ONE}
    async with engine_of(postgres.asyncpg, **options) as engine:
        async with engine.connect() as connection:
            await connection.execute(SELECT)
            await killed(postgres.url)
            with pytest.raises(DBAPIError) as caught:
                await connection.execute(SELECT)

        assert caught.value.connection_invalidated
        assert await query(engine) == 1


@confirms(RULE, "what-the-settings-leave-open", "silent-links-before-asyncpg-0-32")
async def a_ping_waits_for_a_silent_peer(postgres):
    """Without a limit it goes on; command_timeout ends it, but before 0.32 the cleanup goes on."""
    for arguments in {}, {"command_timeout": 0.5}:
        ends = bool(arguments) and SILENCE_ENDS
        options = {"pool_pre_ping": True, "connect_args": arguments, **ONE}
        async with Wire(postgres) as wire, engine_of(wire.url, **options) as engine:
            await query(engine)
            wire.silence()
            waiting = asyncio.create_task(query(engine))
            done, _ = await asyncio.wait({waiting}, timeout=5 if ends else 0.5)
            wire.cut()
            await stopped(waiting)

        assert bool(done) is ends
        assert isinstance(waiting.exception(), TimeoutError) if ends else waiting.cancelled()


@confirms(RULE, "what-the-settings-leave-open")
async def a_ping_costs_three_round_trips(postgres):
    """So many more messages go to the server for the same query."""
    sent = []
    for ping in False, True:
        async with (
            Wire(postgres) as wire,
            engine_of(wire.url, pool_pre_ping=ping, **ONE) as engine,
        ):
            await query(engine)
            await query(engine)
            before = wire.sent
            await query(engine)
            sent.append(wire.sent - before)

    assert sent[1] - sent[0] == 3


@confirms(RULE, "what-the-settings-leave-open")
async def overflow_is_closed_on_return(postgres):
    """Of two connections used at once one stays in a pool of 1 + 1, and both in one of 2."""
    for size, stay in (1, 1), (2, 2):
        shape = {"pool_size": size, "max_overflow": 2 - size}
        async with engine_of(postgres.asyncpg, **shape) as engine:
            async with engine.connect() as one, engine.connect() as two:
                await one.execute(SELECT)
                await two.execute(SELECT)

            assert await falls_to(stay, postgres.url)
            assert len(await backends(postgres.url)) == stay


@confirms(RULE, "which-timeout")
async def an_idle_transaction_loses_its_locks(postgres):
    """The server ends it, and another session writes its row; without the setting that waits."""
    postgres.execute("CREATE TABLE stock (n int); INSERT INTO stock VALUES (1)")
    update = "UPDATE stock SET n = n + 1"
    async with holding(postgres.url, update):
        assert await blocked(postgres.url, update)

    arguments = {"server_settings": {"idle_in_transaction_session_timeout": "100"}}
    async with (
        engine_of(postgres.asyncpg, connect_args=arguments, **ONE) as engine,
        engine.connect() as idle,
    ):
        await idle.execute(text(update))
        assert await falls_to(0, postgres.url)
        with pytest.raises(DBAPIError):
            await idle.execute(SELECT)

        assert not await blocked(postgres.url, update)
