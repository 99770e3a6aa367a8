"""Drive an ASGI application directly and see each message at the moment it is sent."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from tests.observers.shipped import shipped

running = shipped("core.application").running  # the lifespan around a block, as a server runs it
Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]
SPEC = {"version": "3.0", "spec_version": "2.3"}  # what uvicorn 0.54 announces


@dataclass
class Exchange:
    """What a client saw of one request, and the error that left the application."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    error: BaseException | None = None
    complete: bool = False

    def header(self, name: str) -> str | None:
        """The first value of a header, by lower-case name."""
        return next((value for key, value in self.headers if key == name), None)

    def json(self) -> Any:
        return json.loads(self.body)


async def request(
    app: App,
    path: str = "/",
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes | Any = b"",
    *,
    state: dict[str, Any] | None = None,
    on_send: Callable[[Message], Awaitable[None] | None] | None = None,
    disconnect: asyncio.Event | None = None,
) -> Exchange:
    """Send one HTTP request. A body that is not bytes is sent as JSON.

    `on_send` is called with each message before it counts as sent; `disconnect`, once set, is the
    client going away. An exception that leaves the application is kept in the exchange.
    """
    exchange = Exchange()
    sent = {name.lower(): value for name, value in (headers or {}).items()}
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
        sent.setdefault("content-type", "application/json")
    sent.setdefault("host", "testserver")
    gone = disconnect or asyncio.Event()
    delivered = False

    async def receive() -> Message:
        nonlocal delivered
        if not delivered:
            delivered = True
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if on_send is not None and (pending := on_send(message)) is not None:
            await pending
        if message["type"] == "http.response.start":
            exchange.status = message["status"]
            exchange.headers = [
                (key.decode().lower(), value.decode()) for key, value in message.get("headers", [])
            ]
        elif message["type"] == "http.response.body":
            exchange.body += message.get("body", b"")
            if not message.get("more_body"):
                exchange.complete = True
                if disconnect is None:
                    gone.set()

    route, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": SPEC,
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": route,
        "raw_path": route.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(key.encode(), value.encode()) for key, value in sent.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        "state": dict(state or {}),
    }
    try:
        await app(scope, receive, send)
    except Exception as error:
        exchange.error = error
    return exchange
