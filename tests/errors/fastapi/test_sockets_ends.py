"""Texts of a WebSocket that is used before it was accepted, or after its end."""

import asyncio
import contextlib
import threading

import pytest
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect

from tests.errors.fastapi.threaded import Sockets
from tests.harness.errors import produces


@pytest.fixture(scope="module")
def sockets():
    """One server for all sockets of this module."""
    with Sockets().started() as served:
        yield served


@produces("fastapi", 'Cannot call "send" once a close message has been sent.')
async def a_broadcast_meets_a_dead_socket(sockets, cured):
    """A member stays in the room that this side closed, then one to which a send has failed."""
    room, gone, failed = [], threading.Event(), []

    async def closed(socket: WebSocket):
        await socket.accept()
        await socket.close()
        room.append(socket)

    async def left(socket: WebSocket):
        await socket.accept()
        await asyncio.to_thread(gone.wait, 5)
        with contextlib.suppress(WebSocketDisconnect):
            await socket.send_text("news")
        room.append(socket)

    async def tell(member):
        try:
            async with asyncio.timeout(5):
                await member.send_text("news")
        except (WebSocketDisconnect, RuntimeError, TimeoutError):
            room.remove(member)

    async def broadcast(socket: WebSocket):
        await socket.accept()
        for member in list(room):
            try:
                await (tell(member) if cured else member.send_text("news"))
            except RuntimeError:
                failed.append(room.pop())
                raise
        await socket.close()

    for member in (closed, left):
        async with sockets.talk(member) as client:
            await client.close()
            gone.set()
        async with sockets.talk(broadcast) as client:
            await client.wait_closed()

    assert (len(failed), room) == (0 if cured else 2, [])


@produces("fastapi", "starlette.websockets.WebSocketDisconnect: (")
async def a_client_leaves(sockets, cured):
    """The client closes, and nobody catches what the read raises."""

    async def endpoint(socket: WebSocket):
        await socket.accept()
        with contextlib.suppress(WebSocketDisconnect) if cured else contextlib.nullcontext():
            while True:
                await socket.receive_text()

    async with sockets.talk(endpoint):
        pass


@produces("fastapi", 'WebSocket is not connected. Need to call "accept" first.')
async def a_socket_is_read_before_it_is_accepted(sockets, cured):
    """The endpoint reads, and has not called `accept()`."""

    async def endpoint(socket: WebSocket):
        if cured:
            await socket.accept()
        async for _ in socket.iter_text():
            pass

    with contextlib.nullcontext() if cured else contextlib.suppress(Exception):
        async with sockets.talk(endpoint):
            pass


@produces("fastapi", "but got 'websocket.send'")
async def a_socket_is_sent_to_before_it_is_accepted(sockets, cured):
    """The endpoint sends, and has not called `accept()`."""

    async def endpoint(socket: WebSocket):
        if cured:
            await socket.accept()
        await socket.send_text("news")

    with contextlib.nullcontext() if cured else contextlib.suppress(Exception):
        async with sockets.talk(endpoint):
            pass


@produces("fastapi", 'Cannot call "receive" once a disconnect message has been received.')
async def a_loop_reads_on_after_the_disconnect(sockets, cured):
    """The loop takes the disconnect for a message, and reads the next one."""

    async def endpoint(socket: WebSocket):
        await socket.accept()
        if cured:
            async for _ in socket.iter_text():
                pass
            return
        while True:
            await socket.receive()

    async with sockets.talk(endpoint):
        pass


@produces("fastapi", "Unexpected ASGI message 'websocket.send', after sending 'websocket.close'")
async def a_middleware_has_closed_the_socket(sockets, cured):
    """A middleware closes the socket below the endpoint, which does not know it and sends."""
    app = FastAPI()

    @app.websocket("/")
    async def endpoint(socket: WebSocket):
        await socket.accept()
        with contextlib.suppress(RuntimeError) if cured else contextlib.nullcontext():
            await socket.send_text("news")

    async def limited(scope, receive, send):
        async def closing(message):
            await send(message)
            if message["type"] == "websocket.accept":
                await send({"type": "websocket.close", "code": 1008})

        await app(scope, receive, closing)

    async with sockets.served(limited) as url, connect(url, proxy=None) as client:
        await client.wait_closed()


@produces("fastapi", "uvicorn.protocols.utils.ClientDisconnected")
async def a_socket_is_sent_to_after_its_client_left(sockets, cured):
    """The endpoint only sends, and its client is gone."""
    gone = threading.Event()

    async def send(socket):
        while True:
            await asyncio.to_thread(gone.wait, 5)
            await socket.send_text("news")

    async def send_and_end(socket):
        with contextlib.suppress(WebSocketDisconnect):
            await send(socket)

    async def endpoint(socket: WebSocket):
        await socket.accept()
        if not cured:
            await send(socket)
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(send_and_end(socket))
            while (await socket.receive())["type"] == "websocket.receive":
                pass
            sending.cancel()

    async with sockets.talk(endpoint) as client:
        await client.close()
        gone.set()


@produces("fastapi", "KeyError: 'text'")
async def a_binary_frame_arrives_where_text_is_read(sockets, cured):
    """The client sends bytes, and `receive_text()` looks for text."""

    async def endpoint(socket: WebSocket):
        await socket.accept()
        if not cured:
            await socket.receive_text()
            return
        message = await socket.receive()
        if message["type"] == "websocket.receive" and message.get("text") is None:
            await socket.close(1003)

    async with sockets.talk(endpoint) as client:
        await client.send(b"\x00")
        await client.wait_closed()
