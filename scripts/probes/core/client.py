"""Send one request through an ASGI application, as a server and an impatient client would."""

import asyncio
import contextvars
import time
from dataclasses import dataclass, field
from typing import Any

from .places import chain, place
from .requests import Request
from .trace import CURRENT, Trace

SPEC = {"version": "3.0", "spec_version": "2.3"}  # what uvicorn announces
LATEST: list[Trace] = []  # the trace of the latest request, for what is said outside any context
LEAVING = 2.0  # seconds for a request to end once its client has left


@dataclass
class Answer:
    """What the client saw; `stuck` is a request that did not end in its time."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False
    error: BaseException | None = None
    left: bool = False  # a stream that goes on, which the client left
    cancelled: bool = False
    stuck: bool = False
    waits: str = ""  # where, if it is stuck
    seconds: float = 0.0

    @property
    def told(self) -> int:
        """The status the client reads: 500 from the server where nothing was sent."""
        return self.status or 500

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


async def send(
    app: Any,
    state: dict[str, Any],
    request: Request,
    trace: Trace,
    *,
    path: str | None = None,
    body: str | None = None,
    limit: float = 10.0,
    patience: float = 0.5,
) -> Answer:
    """Send it, and wait until it ended or `limit` seconds are over.

    A stream that goes on for `patience` seconds is left, and so is a WebSocket.

    Afterwards the trace refers to no task's exception: that would keep what frames refer to.
    """
    own_path, own_body = request.filled()
    exchange = _Exchange(request, trace, path or own_path, own_body if body is None else body)
    context = contextvars.copy_context()
    context.run(CURRENT.set, trace)
    LATEST[:] = [trace]
    begun = time.perf_counter()
    end = begun + limit
    loop = asyncio.get_running_loop()
    call = app(exchange.scope(state), exchange.receive, exchange.send)
    trace.main = loop.create_task(call, context=context)
    answer = exchange.answer
    while not trace.main.done() and time.perf_counter() < end:
        await asyncio.wait({trace.main}, timeout=patience / 2)
        now = time.perf_counter()
        if (
            exchange.streams
            and not answer.left
            and now > begun + patience
            and not trace.main.done()
        ):
            answer.left = True
            trace.gone.set()
        if trace.gone.is_set() and not answer.complete:
            end = min(end, now + LEAVING)
    answer.seconds = time.perf_counter() - begun
    trace.over.set()
    if not trace.main.done():
        answer.stuck = True
        held = "".join(f", holding a connection taken at {hold.taken}" for hold in trace.out[:1])
        answer.waits = place(reversed(chain(call))) + held
        trace.main.cancel()
        await asyncio.wait({trace.main}, timeout=patience)
    if not trace.main.done() or trace.main.cancelled():
        answer.cancelled = True
    else:
        answer.error = trace.main.exception()
    return answer


class _Exchange:
    """One request's `receive` and `send`. Both suspend, as a slow client makes them."""

    def __init__(self, request: Request, trace: Trace, path: str, body: str) -> None:
        self.request, self.trace, self.path, self.body = request, trace, path, body
        self.answer = Answer()
        self.delivered = 0
        self.accepted = False

    @property
    def streams(self) -> bool:
        """Whether a part of an answer has come that is not complete."""
        return self.accepted or (self.trace.chunks > 0 and not self.answer.complete)

    def scope(self, state: dict[str, Any]) -> dict[str, Any]:
        route, _, query = self.path.partition("?")
        socket = self.request.method == "WS"
        headers = {"host": "localhost"} | self.request.headers  # TrustedHostMiddleware lets it in
        if self.body and not socket:
            headers |= {"content-length": str(len(self.body.encode()))}
            headers = {"content-type": self.request.kind} | headers
        scope = {
            "type": "websocket" if socket else "http",
            "asgi": SPEC,
            "http_version": "1.1",
            "scheme": "ws" if socket else "http",
            "path": route,
            "raw_path": route.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("localhost", 80),
            "state": dict(state),
        }
        return scope | ({"subprotocols": []} if socket else {"method": self.request.method})

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        self.delivered += 1
        if self.request.method == "WS":
            if self.delivered == 1:
                return {"type": "websocket.connect"}
            if self.delivered == 2 and self.body:
                return {"type": "websocket.receive", "text": self.body}
            await self.trace.gone.wait()
            return {"type": "websocket.disconnect", "code": 1001}
        if self.delivered == 1:
            return {"type": "http.request", "body": self.body.encode(), "more_body": False}
        await self.trace.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start"):
            self._starts(message["status"], message.get("headers", ()))
        elif kind == "websocket.accept":
            self._starts(101, message.get("headers", ()))
            self.accepted = True
        elif kind == "websocket.close":
            self.answer.status = self.answer.status or 403
            self._ends()
            self.answer.complete = message.get("code", 1000) in (1000, 1001)
        elif not self.trace.gone.is_set():
            data = message.get("body") or message.get("text") or message.get("bytes") or b""
            self._part(data.encode() if isinstance(data, str) else data)
            if kind != "websocket.send" and not message.get("more_body"):
                self._ends()
        await asyncio.sleep(0)  # a server waits here for its client

    def _starts(self, status: int, headers: Any) -> None:
        self.answer.status, self.trace.began = status, True
        self.answer.headers = [(name.decode().lower(), value.decode()) for name, value in headers]

    def _part(self, data: bytes) -> None:
        self.trace.chunks += bool(data)
        if data and self.trace.chunks == 2:
            self.trace.streamed = [hold.taken for hold in self.trace.out]
        self.answer.body += data

    def _ends(self) -> None:
        self.answer.complete = True
        self.trace.gone.set()
