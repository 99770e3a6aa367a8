"""See whether a lock of another PostgreSQL session makes a statement wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg


@asynccontextmanager
async def holding(url: str, statement: str) -> AsyncIterator[asyncpg.Connection]:
    """A session that has run a statement in a transaction, which stays open around the block."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"BEGIN; {statement}")
        yield connection
    finally:
        await connection.close()


async def blocked(url: str, statement: str, limit: float = 5) -> bool:
    """Run a statement, take it back, and return whether another session made it wait.

    It gives up waiting at once. Raises TimeoutError when neither shows within `limit` seconds.
    """
    writer = await asyncpg.connect(url)
    watcher = await asyncpg.connect(url)
    pid = writer.get_server_pid()
    attempt = asyncio.create_task(writer.execute(f"BEGIN; {statement}; ROLLBACK"))
    try:
        async with asyncio.timeout(limit):
            while not attempt.done():
                if await watcher.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", pid):
                    return True
        await attempt
        return False
    finally:
        if not attempt.done():
            await watcher.execute("SELECT pg_terminate_backend($1)", pid)
            await asyncio.wait({attempt}, timeout=limit)
        if attempt.done():
            attempt.exception()
        writer.terminate()
        await watcher.close()


async def held_up(url: str, task: asyncio.Task[Any], query: str = "", limit: float = 5) -> None:
    """Wait until a session of the database waits for a lock in a statement that contains `query`.

    Raises AssertionError when `task`, which should bring that about, ends first, or after `limit`
    seconds.
    """
    watcher = await asyncpg.connect(url)
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock' AND strpos(query, $1) > 0"
    )
    try:
        async with asyncio.timeout(limit):
            while not await watcher.fetchval(waiting, query):
                if task.done():
                    await task
                    raise AssertionError("it ended without waiting for a lock")
                await asyncio.sleep(0.005)
    except TimeoutError as error:
        raise AssertionError("nobody waited for a lock") from error
    finally:
        await watcher.close()
