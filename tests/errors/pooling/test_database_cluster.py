"""Texts of a server with settings of its own: passwords, few connections, and its log."""

import asyncio
import socket
import struct
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psycopg
import pytest
from sqlalchemy import text

from tests.errors.pooling.engines import engine_of
from tests.harness.errors import produces
from tests.servers.cluster import cluster

pytestmark = pytest.mark.slow  # it starts a server

ACCESS = """
host all postgres 127.0.0.1/32 trust
host all app 127.0.0.1/32 scram-sha-256
local all all peer
"""
KILLED = """
import asyncio, os, sys
import asyncpg

async def main():
    connection = await asyncpg.connect(sys.argv[1])
    await connection.execute("BEGIN")
    os._exit(1)

asyncio.run(main())
"""


class Guarded:
    """A server that asks the role `app` for a password, and has few connections for it."""

    def __init__(self, database):
        self.database = database
        data = Path(database.execute("SHOW data_directory")[0][0])
        self.log = data / "collected.log"

    @property
    def port(self):
        return urlsplit(self.database.url).port

    def url(self, password="", scheme="postgresql", name="app"):
        user = f"{name}:{password}" if password else name
        parts = urlsplit(self.database.url)
        return parts._replace(scheme=scheme, netloc=f"{user}@127.0.0.1:{parts.port}").geturl()

    def asyncpg(self, password=""):
        return self.url(password, "postgresql+asyncpg")

    async def logged(self, words):
        """The last line of the server's log with these words, once there is one."""
        while True:
            lines = self.log.read_text(encoding="utf-8").splitlines()
            if found := [line for line in lines if words in line]:
                return found[-1]
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def guarded():
    with cluster() as server:
        database = server.database
        database.execute("CREATE ROLE app LOGIN PASSWORD 'right'")
        database.execute("ALTER SYSTEM SET superuser_reserved_connections = 90")
        database.execute("ALTER SYSTEM SET logging_collector = on")
        database.execute("ALTER SYSTEM SET log_directory = '.'")
        database.execute("ALTER SYSTEM SET log_filename = 'collected.log'")
        database.execute("CREATE ROLE report LOGIN PASSWORD 'right'")
        file = Path(database.execute("SHOW hba_file")[0][0])
        file.write_text(ACCESS, encoding="utf-8")
        server.restart()
        yield Guarded(database)


async def ask(url, **options):
    async with engine_of(url, **options) as engine, engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


@produces("pooling", "password authentication failed for user")
async def a_password_is_no_longer_right(guarded, cured):
    """The URL holds a password that has changed since; the cure asks for it at each connect."""

    async def mint():
        return "right"

    if cured:
        await ask(guarded.asyncpg(), connect_args={"password": mint})
    else:
        await ask(guarded.asyncpg("expired"))


@produces("pooling", "no pg_hba.conf entry for host")
async def a_role_may_not_come_from_there(guarded, cured):
    """No line of pg_hba.conf lets this role in from this address."""
    await ask(guarded.url("right", "postgresql+asyncpg", "app" if cured else "report"))


@produces("pooling", "Peer authentication failed for user")
async def a_socket_asks_who_runs_the_process(guarded, cured):
    """Through the server's own socket the role has to bear the name of the system's user."""
    folder = guarded.database.execute("SHOW unix_socket_directories")[0][0]
    host = "127.0.0.1" if cured else folder
    url = f"postgresql://app:right@/postgres?host={host}&port={guarded.port}"
    connection = await asyncpg.connect(url)
    await connection.close()


@produces("pooling", "fe_sendauth: no password supplied")
async def psycopg_has_no_password(guarded, cured):
    """The URL has no password, and the server asks for one."""
    url = guarded.url("right" if cured else "")
    async with await psycopg.AsyncConnection.connect(url, passfile="/nowhere") as connection:
        await connection.execute("SELECT 1")


@produces("pooling", "sorry, too many clients already")
async def every_connection_of_the_server_is_taken(guarded, cured):
    """A pool is larger than the server's max_connections."""
    most = int(guarded.database.execute("SHOW max_connections")[0][0])
    size = 5 if cured else most + 1
    async with asyncpg.create_pool(guarded.database.url, min_size=size, max_size=size) as pool:
        await pool.execute("SELECT 1")


@produces("pooling", "remaining connection slots are reserved")
async def only_reserved_connections_are_left(guarded, cured):
    """A pool takes more than what a role may have that is no superuser."""
    size = 5 if cured else 20
    async with asyncpg.create_pool(guarded.url("right"), min_size=size, max_size=size) as pool:
        await pool.execute("SELECT 1")


@produces("pooling", "unexpected EOF on client connection with an open transaction")
async def a_client_dies_in_its_transaction(guarded):
    """A process ends between BEGIN and COMMIT; the server's log tells."""
    command = [sys.executable, "-c", KILLED, guarded.database.url]
    await asyncio.to_thread(subprocess.run, command, check=False)
    return await guarded.logged("with an open transaction")


@produces("pooling", "could not receive data from client")
async def a_client_resets_its_connection(guarded):
    """A client's socket is reset, as by a health check that connects and drops."""
    parts = urlsplit(guarded.database.url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    user = b"user\0postgres\0database\0postgres\0\0"
    writer.write(struct.pack("!ii", 8 + len(user), 196608) + user)
    await writer.drain()
    await asyncio.to_thread(_until_connected, guarded.database)
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
    return await guarded.logged("receive data")


def _until_connected(database):
    mine = "pid <> pg_backend_pid() AND backend_type = 'client backend'"
    while not database.execute(f"SELECT 1 FROM pg_stat_activity WHERE {mine}"):
        pass
