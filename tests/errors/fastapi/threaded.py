"""uvicorn in a thread of this process, so that what it logs is recorded."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, connect

from tests.observers.waiting import until

LIMIT = 10  # seconds for a start or an end


class Threaded(uvicorn.Server):
    """A server that tells other threads when it is up."""

    def __init__(self, app: Any, **options: Any) -> None:
        defaults = {"port": 0, "lifespan": "off", "log_config": None}
        super().__init__(uvicorn.Config(app, **defaults | options))
        self.up = threading.Event()
        self.thread = threading.Thread(target=self.run)

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @property
    def address(self) -> str:
        """Its host and port."""
        host, port = self.servers[0].sockets[0].getsockname()
        return f"{host}:{port}"

    async def stop(self) -> None:
        """What SIGTERM does; return when the server has ended."""
        self.should_exit = True
        await asyncio.to_thread(self.thread.join, LIMIT)

    async def idle(self) -> bool:
        """Wait until no request and no WebSocket is served any more."""
        return await until(lambda: not self.server_state.tasks)


@contextmanager
def threaded(app: Any, **options: Any) -> Iterator[Threaded]:
    """Serve `app` until the block ends, or is stopped in it."""
    server = Threaded(app, **options)
    server.thread.start()
    try:
        assert server.up.wait(LIMIT), "uvicorn did not start"
        yield server
    finally:
        server.should_exit = server.force_exit = True
        server.thread.join()


def serving(endpoint: Any) -> FastAPI:
    """An application of one WebSocket endpoint."""
    app = FastAPI()
    app.websocket("/")(endpoint)
    return app


class Sockets:
    """One server for many WebSockets: each test brings the application that it talks to."""

    def __init__(self) -> None:
        self.app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    @contextmanager
    def started(self) -> Iterator["Sockets"]:
        """Start the server, and stop it at the end of the block."""
        with threaded(self) as self.server:
            yield self

    @asynccontextmanager
    async def served(self, app: Any) -> AsyncIterator[str]:
        """The address of an application; at the end of the block its sockets have ended."""
        self.app = app
        try:
            yield f"ws://{self.server.address}/"
        finally:
            assert await self.server.idle(), "an endpoint outlives its client"

    @asynccontextmanager
    async def talk(self, endpoint: Any, **options: Any) -> AsyncIterator[ClientConnection]:
        """Be the client of an endpoint that FastAPI serves."""
        async with (
            self.served(serving(endpoint)) as url,
            connect(url, proxy=None, **options) as client,
        ):
            yield client
