"""What a process opens and closes, whether it is ready, and a request's session.

Rules: fastapi/lifespan, fastapi/dependencies, pooling/database, pooling/http.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, TypedDict

import aiohttp
import sqlalchemy as sa
from fastapi import Depends, FastAPI, Request
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from orders.database import build_engine
from orders.settings import load_settings


class Readiness:
    def __init__(self, engine: AsyncEngine, limit: float) -> None:
        self.engine, self.limit, self.accepting = engine, limit, True
        self._check: asyncio.Task[bool] | None = None

    async def ping(self) -> bool:
        try:
            async with asyncio.timeout(self.limit), self.engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
        except Exception:
            logging.getLogger(__name__).exception("the database is not ready")
            return False
        return True

    async def check(self) -> bool:
        """Answer within the limit, also while the driver cleans up after a silent server."""
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self.ping())
        await asyncio.wait([self._check], timeout=self.limit)
        return self.accepting and self._check.done() and self._check.result()

    def drain_on_sigterm(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        stop: Any = signal.getsignal(signal.SIGTERM)

        def drain(*caught: Any) -> None:
            self.accepting = False
            loop.call_soon_threadsafe(loop.call_later, seconds, stop, *caught)

        if callable(stop):  # uvicorn's; in tests there is none
            signal.signal(signal.SIGTERM, drain)


class State(TypedDict):
    sessions: async_sessionmaker[AsyncSession]
    http: aiohttp.ClientSession
    readiness: Readiness


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[State]:
    settings = load_settings()
    async with AsyncExitStack() as stack:
        engine = build_engine(settings)
        stack.push_async_callback(engine.dispose)
        readiness = Readiness(engine, settings.ready_seconds)
        if not await readiness.check():
            raise RuntimeError("there is no database to start with")
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit_per_host=20, keepalive_timeout=4),
            timeout=aiohttp.ClientTimeout(total=10, sock_connect=2),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        http = await stack.enter_async_context(session)
        readiness.drain_on_sigterm(settings.drain_seconds)
        sessions = async_sessionmaker(engine, expire_on_commit=False)
        yield {"sessions": sessions, "http": http, "readiness": readiness}


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.state.sessions.begin() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session, scope="function")]
