"""For probe.py: a payment provider on this machine, which takes its time."""

import asyncio
from typing import Any

from rooms import payments


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.1)
    writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    writer.close()


async def provide(app: Any, state: dict[str, Any]) -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    payments.URL = f"http://{host}:{port}"
