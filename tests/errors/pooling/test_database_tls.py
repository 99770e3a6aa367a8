"""Texts of libpq about a TLS connection that ended."""

import asyncio
import contextlib
import socket
import sys
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.harness.errors import produces
from tests.harness.judge import run
from tests.servers.tls import authority

FORKED = """
import os
import select
import sys

import psycopg

url = sys.argv[1]
connection = psycopg.connect(url, sslmode="require", autocommit=True)
child = os.fork()
if not child:
    {}
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
try:
    connection.execute("SELECT 1")
except psycopg.OperationalError as error:
    print(f"psycopg.OperationalError: {{error}}")
"""
USED = 'connection.execute("SET idle_session_timeout = 20"); select.select([connection], [], [])'
CLOSED = "connection.close()"
OWN = 'psycopg.connect(url, sslmode="require").execute("SELECT 1")'


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


async def forked(database, certified, line):
    """What a process prints whose forked child does this before its parent goes on."""
    async with front_of(database, certified) as front:
        command = [sys.executable, "-c", FORKED.format(line), front.url]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            printed, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0
        return printed.decode()


@produces("pooling", "SSL connection has been closed unexpectedly")
async def the_proxy_ends_a_session(postgres_database, certified, cured):
    """The other side closes its TLS in good order."""
    async with front_of(postgres_database, certified) as front:
        await asked_again(front.url, lambda: front.clients[0].close(), cured=cured)


@produces("pooling", "decryption failed or bad record mac")
async def a_forked_child_uses_its_parents_connection(postgres_database, certified, cured):
    """The parent reads on after its child has read; the cure makes the child's own."""
    return await forked(postgres_database, certified, OWN if cured else USED)


async def a_forked_child_closes_its_parents_connection(postgres_database, certified):
    return await forked(postgres_database, certified, CLOSED)


def test_a_child_that_closes_ends_its_parents_tls(postgres_database, certified):
    """A child's close is the server's good-bye to the parent."""
    closes = a_forked_child_closes_its_parents_connection
    printed = run(closes, 10, postgres_database=postgres_database, certified=certified)

    assert "SSL connection has been closed unexpectedly" in printed


@produces("pooling", "SSL error: unexpected eof while reading")
async def a_connection_is_cut(postgres_database, certified, cured):
    """The socket is closed beneath the TLS."""
    async with front_of(postgres_database, certified) as front:
        await asked_again(front.url, front.cut, cured=cured)
