"""Count the connections a program holds, by the name it gives itself, as PostgreSQL sees them."""

import asyncio

import asyncpg

OTHERS = """
    SELECT pid FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
    AND datname = current_database() AND ($1::text IS NULL OR application_name = $1)
"""


async def backends(url: str, application_name: str | None = None) -> set[int]:
    """The process ids of the backends that serve this application now.

    The name is what it put into `server_settings`; without one, all clients of the database count.
    A backend whose connection was just closed may be there for a moment: wait with `falls_to`.
    """
    watcher = await asyncpg.connect(url)
    try:
        return {row["pid"] for row in await watcher.fetch(OTHERS, application_name)}
    finally:
        await watcher.close()


async def falls_to(
    count: int, url: str, application_name: str | None = None, limit: float = 5
) -> bool:
    """Wait until at most `count` of these backends are left; False after `limit` seconds."""
    watcher = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(limit):
            while len(await watcher.fetch(OTHERS, application_name)) > count:
                await asyncio.sleep(0.01)
    except TimeoutError:
        return False
    finally:
        watcher.terminate()
    return True


async def killed(url: str, application_name: str | None = None) -> int:
    """End these backends, as a restart of the server does; return how many there were.

    They are gone when this returns; the application may not have read so yet.
    """
    watcher = await asyncpg.connect(url)
    end = f"SELECT pg_terminate_backend(pid, 5000) FROM ({OTHERS}) AS others"
    try:
        return len(await watcher.fetch(end, application_name))
    finally:
        await watcher.close()
