"""The client that the stop probe speaks HTTP and WebSocket with, against bytes as servers send."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.observers.shipped import shipped

wire = shipped("core.wire")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def spoken(handler: Handler, client: Callable[[int], Awaitable[Any]]) -> Any:
    """What a client returns that is given the port of a server with this handler."""

    async def run() -> Any:
        async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
            return await asyncio.wait_for(client(server.sockets[0].getsockname()[1]), 10)

    return asyncio.run(run())


def answered(sent: bytes) -> Any:
    """How an answer of these bytes is read."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        writer.close()
        await writer.wait_closed()

    return spoken(handler, lambda port: wire.ask(port, "GET", "/", {}))


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok", "201"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "200"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", "200"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "204"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok", "200, cut off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "200, cut off"),
        (b"HTTP/1.1 200 OK\r\nContent-", "nothing"),
        (b"no HTTP at all\r\n\r\n", "nothing"),
        (b"", "nothing"),
    ],
)
def test_an_answer_counts_where_it_came_whole(sent, told) -> None:
    """By its length, its last chunk, or the connection's end; else it was cut off."""
    assert answered(sent).told == told


def test_a_port_without_a_server_answers_nothing() -> None:
    """No error is raised."""
    port = shipped("core.serving").free_port()

    assert asyncio.run(wire.ask(port, "GET", "/", {})).told == "nothing"


def test_a_socket_answers_pings_and_goodbyes() -> None:
    """A long message in between is read over; each frame it sends is masked."""
    heard: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        writer.write(b"\x81\x7e\x01\x00" + bytes(256) + b"\x89\x02hi" + b"\x88\x02\x03\xf4")
        heard.append(await reader.readexactly(8))
        heard.append(await reader.readexactly(8))
        writer.close()

    async def client(port: int) -> int:
        connection = await wire.Connection.opened(port)
        status = await connection.upgraded("/", {})
        await connection.conversed()
        connection.close()
        return status

    assert spoken(handler, client) == 101
    assert heard == [b"\x8a\x82\0\0\0\0hi", b"\x88\x82\0\0\0\0\x03\xf4"]
