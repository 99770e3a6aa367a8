"""Drive a WebSocket of an ASGI application directly, as its client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.observers.asgi import SPEC, App, Message


@dataclass
class Socket:
    """What a client sees of one WebSocket, and the error that left the application."""

    status: int = 500  # of the handshake: 101 when it was accepted
    code: int | None = None  # of the close, once the application has sent it
    error: BaseException | None = None
    inbox: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    outbox: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    task: asyncio.Task[None] | None = None

    def send(self, text: str) -> None:
        """Send a text message."""
        self.inbox.put_nowait({"type": "websocket.receive", "text": text})

    async def receive(self, limit: float = 5) -> str | None:
        """The next text; None when the application closes or ends instead.

        Raises TimeoutError when nothing comes within `limit` seconds.
        """
        message = await self._next(limit)
        if message is None:
            return None
        if message["type"] == "websocket.close":
            self.code = message.get("code", 1000)
            return None
        return message["text"]

    async def _next(self, limit: float) -> Message | None:
        assert self.task is not None
        following = asyncio.create_task(self.outbox.get())
        waited_for = {following, self.task}
        await asyncio.wait(waited_for, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            return following.result()
        following.cancel()
        if not self.task.done():
            raise TimeoutError("the application sends nothing")
        return self.outbox.get_nowait() if self.outbox.qsize() else None


@asynccontextmanager
async def websocket(
    app: App,
    path: str = "/",
    headers: dict[str, str] | None = None,
    *,
    state: dict[str, Any] | None = None,
) -> AsyncIterator[Socket]:
    """Open a WebSocket; the end of the block is the client going away.

    The handshake is over when the block begins: look at `status`. Raises TimeoutError when the
    application does not answer it, or does not end within 5 seconds of the client.
    """
    socket = Socket()
    sent = {"host": "testserver"} | {key.lower(): value for key, value in (headers or {}).items()}
    scope = {
        "type": "websocket",
        "asgi": SPEC,
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(key.encode(), value.encode()) for key, value in sent.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},  # which uvicorn announces too
        "state": dict(state or {}),
    }

    async def serve() -> None:
        try:
            await app(scope, socket.inbox.get, socket.outbox.put)
        except Exception as error:
            socket.error = error

    socket.inbox.put_nowait({"type": "websocket.connect"})
    socket.task = asyncio.create_task(serve())
    try:
        match await socket._next(5):
            case {"type": "websocket.accept"}:
                socket.status = 101
            case {"type": "websocket.http.response.start", "status": int(status)}:
                socket.status = status
            case {"type": "websocket.close"}:
                socket.status = 403  # how servers refuse a socket that was never accepted
        yield socket
    finally:
        socket.inbox.put_nowait({"type": "websocket.disconnect", "code": 1001})
        await asyncio.wait({socket.task}, timeout=5)
        if not socket.task.done():
            socket.task.cancel()
            raise TimeoutError("the application stays when its client has left")
