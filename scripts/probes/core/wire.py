"""HTTP and WebSocket on a socket, as far as a client needs them that may stop half way."""

import asyncio
import base64
import os
from dataclasses import dataclass
from typing import Self

HOST = "127.0.0.1"
ENDS = (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError)
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10  # opcodes of WebSocket's frames


@dataclass(frozen=True)
class Answer:
    """The status, 0 where none came; whether it came whole; why not."""

    status: int = 0
    whole: bool = False
    body: bytes = b""

    @property
    def told(self) -> str:
        """What its client would say it was answered."""
        if self.status:
            return str(self.status) if self.whole else f"{self.status}, cut off"
        return "nothing"


class Connection:
    """One connection to a server on loopback."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def opened(cls, port: int) -> Self:
        """Raises OSError when it is refused."""
        return cls(*await asyncio.wait_for(asyncio.open_connection(HOST, port), 5))

    def close(self) -> None:
        self.writer.transport.abort()

    def head(self, method: str, path: str, headers: dict[str, str], length: int = 0) -> None:
        """Send a request's line and headers."""
        own = {"content-length": str(length)} if length else {}
        lines = {"host": "localhost"} | headers | own
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode())

    async def status(self) -> tuple[int, dict[str, str]]:
        """Read the status and the headers of an answer. Raises one of ENDS when none comes."""
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return int(first.split()[1]), headers

    async def answer(self, limit: float) -> Answer:
        """Read an answer to its end."""
        status, body = 0, b""
        try:
            async with asyncio.timeout(limit):
                status, headers = await self.status()
                if "chunked" in headers.get("transfer-encoding", ""):
                    while size := int(await self.reader.readline(), 16):
                        body += (await self.reader.readexactly(size + 2))[:-2]
                elif "content-length" in headers:
                    body = await self.reader.readexactly(int(headers["content-length"]))
                elif status >= 200 and status not in (204, 304):
                    body = await self.reader.read()
        except ENDS:
            return Answer(status, False, body)
        return Answer(status, True, body)

    async def drained(self) -> None:
        """Read until the server ends the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except OSError:
            pass

    async def upgraded(self, path: str, headers: dict[str, str]) -> int:
        """Ask for a WebSocket; return the status, 101 when it is open. Raises one of ENDS."""
        wanted = {
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": base64.b64encode(os.urandom(16)).decode(),
        }
        self.head("GET", path, headers | wanted)
        return (await self.status())[0]

    def frame(self, kind: int, content: bytes) -> None:
        """Send a frame, masked by zeros."""
        size = len(content)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        self.writer.write(bytes([0x80 | kind]) + length + bytes(4) + content)

    async def conversed(self) -> None:
        """Read a WebSocket's frames until the server ends it, and answer pings and its goodbye."""
        try:
            while not self.reader.at_eof():
                first, size = await self.reader.readexactly(2)
                if size >= 126:
                    wide = await self.reader.readexactly(2 if size == 126 else 8)
                    size = int.from_bytes(wide, "big")
                content = await self.reader.readexactly(size)
                kind = first & 0x0F
                if kind in (CLOSE, PING):
                    self.frame(PONG if kind == PING else CLOSE, content)
        except ENDS:
            pass


async def ask(
    port: int, method: str, path: str, headers: dict[str, str], body: str = "", limit: float = 10.0
) -> Answer:
    """One request on a connection of its own."""
    try:
        async with asyncio.timeout(limit):
            connection = await Connection.opened(port)
    except ENDS:
        return Answer()
    try:
        content = body.encode()
        connection.head(method, path, headers | {"connection": "close"}, len(content))
        connection.writer.write(content)
        return await connection.answer(limit)
    finally:
        connection.close()
