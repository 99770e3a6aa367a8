"""Texts of libpq about a TLS connection that ended."""

import asyncio
import contextlib
import socket
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.harness.errors import produces
from tests.servers.tls import authority


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("tls"))


class Front:
    """Speaks TLS with clients for a server that does not, as a provider's proxy does."""

    def __init__(self, database, context):
        self.target = urlsplit(database.url)
        self.context = context
        self.port = 0
        self.clients = []
        self.copies = set()

    @property
    def url(self):
        """The database's URL by this way."""
        parts = self.target
        return parts._replace(netloc=f"{parts.username}@127.0.0.1:{self.port}").geturl()

    def cut(self):
        """End the first client's connection beneath the TLS, without a word."""
        self.clients[0].get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    async def accept(self, reader, writer):
        await reader.readexactly(8)  # SSLRequest
        writer.write(b"S")
        await writer.start_tls(self.context)
        back, there = await asyncio.open_connection(self.target.hostname, self.target.port)
        self.clients.append(writer)
        for source, end in ((reader, there), (back, writer)):
            self.copies.add(asyncio.create_task(self.copy(source, end)))

    async def copy(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()


@asynccontextmanager
async def front_of(database, certified):
    """A front for the block."""
    front = Front(database, certified.server())
    server = await asyncio.start_server(front.accept, "127.0.0.1", 0)
    front.port = server.sockets[0].getsockname()[1]
    try:
        yield front
    finally:
        for each in front.clients:
            each.close()
        server.close()
        if front.copies:
            await asyncio.wait(front.copies)


async def asked_again(url, cut, *, cured):
    """Ask, let the connection be cut, and ask again; the cure takes a new one."""
    async with contextlib.AsyncExitStack() as stack:

        async def connected():
            connecting = psycopg.AsyncConnection.connect(url, sslmode="require", autocommit=True)
            return await stack.enter_async_context(await connecting)

        connection = await connected()
        await connection.execute("SELECT 1")
        cut()
        try:
            await connection.execute("SELECT 1")
        except psycopg.OperationalError:
            if not cured:
                raise
            await (await connected()).execute("SELECT 1")


@produces("pooling", "SSL connection has been closed unexpectedly")
async def the_proxy_ends_a_session(postgres_database, certified, cured):
    """The other side closes its TLS in good order."""
    async with front_of(postgres_database, certified) as front:
        await asked_again(front.url, lambda: front.clients[0].close(), cured=cured)


@produces("pooling", "SSL error: unexpected eof while reading")
async def a_connection_is_cut(postgres_database, certified, cured):
    """The socket is closed beneath the TLS."""
    async with front_of(postgres_database, certified) as front:
        await asked_again(front.url, front.cut, cured=cured)
