"""What a process opens and closes, whether it is ready, and a request's session.

Rules: fastapi/lifespan, fastapi/dependencies, pooling/database, pooling/http.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, TypedDict

import aiohttp
import sqlalchemy as sa
import uvicorn
from fastapi import Depends, FastAPI
from fastapi.requests import HTTPConnection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from orders.database import build_engine, for_one_select
from orders.settings import load_settings

LIMIT = 5  # seconds that a close may take


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
        check = self._check
        if check is None or check.done():
            check = self._check = asyncio.create_task(self.ping())
        await asyncio.wait([check], timeout=self.limit)
        return self.accepting and check.done() and check.result()

    def drain_on_sigterm(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        if isinstance(server, uvicorn.Server):  # others stop at once, as ever

            def drain() -> None:
                self.accepting = False
                loop.call_later(seconds, server.handle_exit, signal.SIGTERM, None)

            signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(drain))


class State(TypedDict):
    sessions: async_sessionmaker[AsyncSession]
    reads: async_sessionmaker[AsyncSession]
    http: aiohttp.ClientSession
    readiness: Readiness


async def bounded(close: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(LIMIT):
        await close()


async def settle() -> None:
    """Wait for requests that uvicorn cancelled: it does not, and they may still clean up."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if ending := {task for task in tasks if task.cancelling()}:
        await asyncio.wait(ending, timeout=LIMIT)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[State, None]:
    settings = load_settings()
    async with AsyncExitStack() as stack:
        engine = build_engine(settings, settings.pool_size)
        stack.push_async_callback(bounded, engine.dispose)
        probed = build_engine(settings, 1)  # a busy pool is no reason to leave the balancer
        stack.push_async_callback(bounded, probed.dispose)
        readiness = Readiness(probed, settings.ready_seconds)
        if not await readiness.check():
            raise RuntimeError("there is no database to start with")
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit_per_host=20, keepalive_timeout=4),
            timeout=aiohttp.ClientTimeout(total=10, sock_connect=2),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        http = await stack.enter_async_context(session)
        stack.push_async_callback(settle)
        readiness.drain_on_sigterm(settings.drain_seconds)
        sessions = async_sessionmaker(engine, expire_on_commit=False)
        reads = async_sessionmaker(for_one_select(engine))
        yield {"sessions": sessions, "reads": reads, "http": http, "readiness": readiness}


async def get_session(connection: HTTPConnection) -> AsyncGenerator[AsyncSession, None]:
    async with connection.state.sessions.begin() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session, scope="function")]
