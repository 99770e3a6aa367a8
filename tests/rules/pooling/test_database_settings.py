"""What pooling/database says of an engine's settings, by what the server does with them."""

import asyncio
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from tests.harness import confirms
from tests.observers.blocked import blocked, holding
from tests.observers.connections import falls_to
from tests.servers.postgres import Database

RULE = "pooling/database"
ONE = {"pool_size": 1, "max_overflow": 0}
SELECT = text("SELECT 1")


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


class Wire:
    """A TCP proxy that counts what the client sends, and can swallow what its links carry."""

    def __init__(self, database: Database) -> None:
        self.target = urlsplit(database.url)  # of the links to come
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
async def overflow_is_closed_on_return(postgres):
    """Of two connections used at once one stays in a pool of 1 + 1, and both in one of 2."""
    for size, stay in (1, 1), (2, 2):
        shape = {"pool_size": size, "max_overflow": 2 - size}
        async with engine_of(postgres.asyncpg, **shape) as engine:
            async with engine.connect() as one, engine.connect() as two:
                await one.execute(SELECT)
                await two.execute(SELECT)

            assert await falls_to(stay, postgres.url)
            assert not await falls_to(stay - 1, postgres.url, limit=0.2)


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


@confirms(RULE, "which-timeout")
async def a_stream_that_is_read_slowly_loses_its_connection(postgres):
    """Its consumer pauses for longer than a transaction may idle, and cannot go on."""
    arguments = {"server_settings": {"idle_in_transaction_session_timeout": "100"}}
    numbers = text("SELECT generate_series(1, 100)").execution_options(yield_per=10)
    seen = []

    async def read(engine):
        async with engine.connect() as connection:
            async for number in await connection.stream_scalars(numbers):
                seen.append(number)
                if len(seen) == 10:
                    assert await falls_to(0, postgres.url)

    async with engine_of(postgres.asyncpg, connect_args=arguments, **ONE) as engine:
        with pytest.raises(DBAPIError, match="connection is closed"):
            await read(engine)

    assert 10 <= len(seen) < 100
