"""Texts of psycopg and of its pool."""

import asyncio
import subprocess
import sys

import psycopg
import psycopg_pool
import pytest

from tests.harness.errors import produces
from tests.servers.ports import free_port

WITHOUT_LIBPQ = """
import ctypes.util, sys
sys.modules["psycopg_c"] = sys.modules["psycopg_binary"] = None
ctypes.util.find_library = lambda name: None
import psycopg
"""


@produces("pooling", "is not open yet")
async def a_pool_is_used_before_it_is_opened(postgres_database, cured):
    """A pool was made with `open=False`, and nobody has opened it."""
    pool = psycopg_pool.AsyncConnectionPool(postgres_database.url, min_size=1, open=False)
    if cured:
        await pool.open()
    try:
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")
    finally:
        await pool.close()


@produces("pooling", "opening the async pool AsyncConnectionPool in the constructor is deprecated")
async def a_pool_opens_itself(postgres_database, cured):
    """A pool is opened by its constructor."""
    options = {"open": False} if cured else {}
    pool = psycopg_pool.AsyncConnectionPool(postgres_database.url, min_size=1, **options)
    if cured:
        await pool.open()
    async with pool.connection() as connection:
        await connection.execute("SELECT 1")
    await pool.close()


@produces("pooling", "error connecting in 'pool-")
async def a_pool_finds_no_server(postgres_database, cured):
    """The pool's workers connect to a port where nobody listens."""
    failed = asyncio.Event()
    pool = psycopg_pool.AsyncConnectionPool(
        postgres_database.url,
        kwargs={} if cured else {"port": free_port()},
        min_size=1,
        open=False,
        reconnect_timeout=0.05,
        reconnect_failed=lambda _: failed.set(),
    )
    try:
        await pool.open()
        await (pool.wait() if cured else failed.wait())
    finally:
        await pool.close()


@produces("pooling", "connection in transaction status INTRANS")
async def autocommit_is_set_in_a_transaction(postgres_database, cured):
    """`autocommit` is set after the first statement, which has begun a transaction."""
    url = postgres_database.url
    async with await psycopg.AsyncConnection.connect(url, autocommit=cured) as connection:
        await connection.execute("SELECT 1")
        if not cured:
            await connection.set_autocommit(True)


@produces("pooling", "Psycopg cannot use the 'ProactorEventLoop'")
async def the_loop_is_the_one_of_windows(postgres_database, monkeypatch):
    """psycopg looks at the platform and at the class of the loop, and this loop has that name."""
    monkeypatch.setattr(sys, "platform", "win32")
    kind = type(asyncio.get_running_loop())
    monkeypatch.setattr(asyncio, "ProactorEventLoop", kind, raising=False)
    await psycopg.AsyncConnection.connect(postgres_database.url)


@pytest.mark.slow  # it starts a Python
@produces("pooling", "no pq wrapper available")
def a_process_has_no_libpq():
    """psycopg is imported where neither its binary package nor a system's libpq is found."""
    command = [sys.executable, "-c", WITHOUT_LIBPQ]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr
