"""An HTTP/1.1 server on loopback that counts connections and requests, and answers as told."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Self


@dataclass(frozen=True)
class Request:
    """What arrived; `connection` counts from 1, header names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass(frozen=True)
class Answer:
    """What to send. With `drip`, the body goes out byte by byte, so many seconds apart."""

    body: bytes = b"ok"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drip: float = 0


Script = Callable[[Request], Awaitable[Answer | None]]


def redirect(url: str, status: int = 302) -> Answer:
    """An answer that sends the client elsewhere."""
    return Answer(b"", status, {"Location": url})


async def ok(request: Request) -> Answer:
    """Answer 200 to everything."""
    return Answer()


class CountingServer:
    """Serves while its `async with` block runs.

    `script` answers each request: it may wait as long as it likes, or return None to close the
    connection without an answer. A connection unused for `idle` seconds is dropped the way that
    clients cannot notice in time: whatever they send on it next meets a closed connection.
    """

    def __init__(
        self, script: Script = ok, *, idle: float | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.script, self.idle, self.tls = script, idle, tls
        self.requests: list[Request] = []
        self.connections = 0  # ever accepted; over TLS, those whose handshake succeeded
        self.dropped = 0  # given up after `idle` seconds
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def named(self, host: str) -> str:
        """The address by another name, such as `localhost`."""
        return self.url.replace("127.0.0.1", host)

    def seen(self, path: str) -> int:
        """How many requests asked for this path."""
        return sum(request.path == path for request in self.requests)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            await self._converse(reader, writer, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        loop = asyncio.get_running_loop()
        dropped: list[bool] = []
        timer: asyncio.TimerHandle | None = None
        while True:
            request = await self._read(reader, connection)
            if timer is not None:
                timer.cancel()
            if dropped:
                return
            self.requests.append(request)
            answer = await self.script(request)
            if answer is None:
                return
            await self._send(answer, writer)
            if request.headers.get("connection", "").lower() == "close":
                return
            if self.idle is not None:
                timer = loop.call_later(self.idle, self._drop, dropped)

    def _drop(self, dropped: list[bool]) -> None:
        self.dropped += 1
        dropped.append(True)

    async def _read(self, reader: asyncio.StreamReader, connection: int) -> Request:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode().rstrip("\r\n").split("\r\n")
        method, path, _ = first.split(" ", 2)
        pairs = (line.split(":", 1) for line in lines)
        headers = {name.lower(): value.strip() for name, value in pairs}
        return Request(method, path, headers, await self._body(reader, headers), connection)

    async def _body(self, reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return await reader.readexactly(int(headers.get("content-length", 0)))
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:size]
        await reader.readline()
        return body

    async def _send(self, answer: Answer, writer: asyncio.StreamWriter) -> None:
        headers = {"Content-Length": str(len(answer.body))} | answer.headers
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        if not answer.drip:
            writer.write(answer.body)
        else:
            for byte in answer.body:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(answer.drip)
        await writer.drain()
