"""Engines on a test's database, and ways to lose what they are connected to."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.servers.postgres import Database


@asynccontextmanager
async def engine_of(database: Database | str, **options: Any) -> AsyncGenerator[AsyncEngine, None]:
    """An engine, disposed of at the end."""
    url = database if isinstance(database, str) else database.asyncpg
    engine = create_async_engine(url, **options)
    try:
        yield engine
    finally:
        await engine.dispose()


@contextmanager
def role_of(database: Database, options: str = "") -> Generator[str, None, None]:
    """A role that may log in, named for the database, as roles are one set for all of a server."""
    name = f"app_of_{urlsplit(database.url).path[1:]}"
    gone = f"DROP OWNED BY {name}; DROP ROLE {name}"
    if database.execute(f"SELECT 1 FROM pg_roles WHERE rolname = '{name}'"):
        database.execute(gone)
    database.execute(f"CREATE ROLE {name} LOGIN {options}")
    try:
        yield name
    finally:
        database.execute(
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{name}'"
        )
        database.execute(gone)


async def end_backend(database: Database, pid: int) -> None:
    """End a session at the server, and wait until it is gone there."""
    await asyncio.to_thread(database.execute, f"SELECT pg_terminate_backend({pid}, 5000)")


async def busy(database: Database, waits: str = "PgSleep") -> None:
    """Wait until a session of the database waits for this, as pg_stat_activity names it."""

    def count() -> int:
        asked = f"datname = current_database() AND wait_event = '{waits}'"
        return int(database.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {asked}")[0][0])

    async with asyncio.timeout(5):
        while not await asyncio.to_thread(count):
            await asyncio.sleep(0.005)


class Way:
    """A way to a server that goes through here, and can be cut."""

    def __init__(self) -> None:
        self.port = 0
        self.ends: list[asyncio.StreamWriter] = []

    def close(self) -> None:
        """End it in good order: both sides read the end of the stream."""
        for end in self.ends:
            end.close()

    def url(self, database: Database) -> str:
        """The database's URL by this way."""
        parts = urlsplit(database.url)
        return parts._replace(netloc=f"{parts.username}@127.0.0.1:{self.port}").geturl()


@asynccontextmanager
async def way_to(database: Database) -> AsyncGenerator[Way, None]:
    """Copy bytes between clients and the server."""
    way, copies = Way(), set[asyncio.Task[None]]()
    target = urlsplit(database.url)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, there = await asyncio.open_connection(target.hostname, target.port)
        way.ends += [writer, there]
        for source, end in ((reader, there), (back, writer)):
            copies.add(asyncio.create_task(copy(source, end)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    way.port = server.sockets[0].getsockname()[1]
    try:
        yield way
    finally:
        way.close()
        server.close()
        if copies:
            await asyncio.wait(copies)
