"""See which PostgreSQL backend waits for which other one."""

import asyncio
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

WAITS = text(
    """
    SELECT waiting.pid, waiting.query, blocking.pid, blocking.state, blocking.query
    FROM pg_stat_activity AS waiting
    JOIN pg_stat_activity AS blocking ON blocking.pid = ANY (pg_blocking_pids(waiting.pid))
    WHERE waiting.datname = current_database()
    ORDER BY waiting.query_start, blocking.pid
    """
)


@dataclass(frozen=True)
class Wait:
    """One backend that waits for a lock, and one that keeps it from getting it."""

    pid: int
    query: str
    blocking_pid: int
    blocking_state: str  # "idle in transaction": its client is busy with something else
    blocking_query: str  # the last statement it ran, or the one it runs


async def waits(engine: AsyncEngine) -> list[Wait]:
    """Who waits for whom right now, longest first."""
    async with engine.connect() as connection:
        return [Wait(*row) for row in await connection.execute(WAITS)]


async def waiting(engine: AsyncEngine, limit: float = 5) -> list[Wait]:
    """Poll until somebody waits; an empty list when nobody did within `limit` seconds."""
    found: list[Wait] = []
    try:
        async with asyncio.timeout(limit):
            while not (found := await waits(engine)):
                await asyncio.sleep(0.01)
    except TimeoutError:
        return []
    return found
