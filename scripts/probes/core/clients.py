"""Clients that a server has while it is told to stop: idle, in flight, on a stream, on a socket."""

import asyncio

from .requests import Request
from .wire import ENDS, TEXT, Answer, Connection, ask

NOTICED = 0.2  # seconds in which a server begins what it was sent
GOES_ON = 0.5  # seconds after which an answer without an end is a stream


class UnopenedError(Exception):
    """The state cannot be made; the message says what to give."""


class Client:
    """Brings one connection into a state, and keeps it there."""

    what = "an idle connection"
    trap = ""  # where this state keeps a server from ending
    waits = 0.1  # seconds that it may still need when all else is seen

    def __init__(self, request: Request) -> None:
        self.request = request
        self.connection: Connection | None = None
        self.said = ""  # what became of it
        self.lost = False

    @property
    def label(self) -> str:
        return self.request.label

    async def begins(self, port: int) -> None:
        """Raises UnopenedError."""
        try:
            self.connection = await Connection.opened(port)
            async with asyncio.timeout(10):
                await self.enters(self.connection, port)
        except ENDS as error:
            raise UnopenedError(f"{self.label}: the server does not answer: {error!r}") from error

    async def enters(self, connection: Connection, port: int) -> None:
        raise NotImplementedError

    async def goes_on(self, closed: asyncio.Event, patience: float) -> None:
        """After SIGTERM; `closed` is set when the server takes no new requests any more."""
        assert self.connection is not None  # noqa: S101 - it has begun
        await self.connection.drained()

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()


class Idle(Client):
    """A keep-alive connection between two requests."""

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__(Request("GET", "/", "", dict(headers)))

    @property
    def label(self) -> str:
        return ""  # which path it asked for is of no interest

    async def enters(self, connection: Connection, port: int) -> None:
        connection.head("GET", "/", self.request.headers)
        await connection.answer(5)


class InFlight(Client):
    """A request whose body is complete only when no new request is taken any more."""

    what = "a request in flight"
    waits = 5.0

    async def enters(self, connection: Connection, port: int) -> None:
        headers = {"content-type": self.request.kind} | self.request.headers
        path, body = self.request.filled()
        plain = await ask(port, self.request.method, path, headers, body)
        if not _good(plain):
            text = plain.body[:150].decode(errors="replace")
            raise UnopenedError(f"before SIGTERM it is answered {plain.told}: {text}")
        path, body = self.request.filled()
        content = body.encode()
        self.rest = content[-1:]
        connection.head(self.request.method, path, headers, len(content))
        connection.writer.write(content[:-1])
        await asyncio.sleep(NOTICED)

    async def goes_on(self, closed: asyncio.Event, patience: float) -> None:
        assert self.connection is not None  # noqa: S101 - it has begun
        await closed.wait()
        self.connection.writer.write(self.rest)
        answer = await self.connection.answer(patience)
        self.said, self.lost = f"it was answered {answer.told}", not _good(answer)


class Stream(Client):
    """A client that reads an answer without an end."""

    what = "an open stream"
    trap = "fastapi/lifespan#streams-outlive-the-shutdown"

    async def enters(self, connection: Connection, port: int) -> None:
        path, _ = self.request.filled()
        connection.head("GET", path, self.request.headers)
        answer = await connection.answer(GOES_ON)
        if answer.whole or not _good(Answer(answer.status, whole=True)):
            raise UnopenedError(f"it is no stream: it is answered {answer.told}, and ends")


class Socket(Client):
    """A client of a WebSocket that answers pings and goodbyes."""

    what = "an open WebSocket"
    trap = "fastapi/lifespan#websockets-that-only-send"

    async def enters(self, connection: Connection, port: int) -> None:
        path, body = self.request.filled()
        status = await connection.upgraded(path, self.request.headers)
        if status != 101:
            raise UnopenedError(f"the WebSocket does not open: it is answered {status}")
        if body:
            connection.frame(TEXT, body.encode())
        await asyncio.sleep(NOTICED)

    async def goes_on(self, closed: asyncio.Event, patience: float) -> None:
        assert self.connection is not None  # noqa: S101 - it has begun
        await self.connection.conversed()


def _good(answer: Answer) -> bool:
    return answer.whole and 200 <= answer.status < 400
