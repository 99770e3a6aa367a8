"""Texts that clients of WebSockets show, of the libraries websockets and aiohttp."""

import asyncio
import contextlib
import threading

import aiohttp
import pytest
from fastapi import WebSocket
from websockets import ConnectionClosed
from websockets.asyncio.client import connect

from tests.errors.fastapi.threaded import Sockets, serving, threaded
from tests.harness.errors import produces
from tests.observers.waiting import until


@pytest.fixture(scope="module")
def sockets():
    """One server for all sockets of this module."""
    with Sockets().started() as served:
        yield served


@contextlib.asynccontextmanager
async def aiohttp_socket(sockets, endpoint):
    """A socket of aiohttp's client, connected to an endpoint."""
    async with (
        sockets.served(serving(endpoint)) as url,
        aiohttp.ClientSession() as session,
        session.ws_connect(url) as client,
    ):
        yield client


async def greeting_two(socket: WebSocket):
    """An endpoint with a message for each of two readers, once it is asked."""
    await socket.accept()
    await socket.receive_text()
    await socket.send_text("one")
    await socket.send_text("two")
    await socket.close()


async def patient(socket: WebSocket):
    """An endpoint that reads until its client leaves."""
    await socket.accept()
    async for _ in socket.iter_text():
        pass


@produces("fastapi", "keepalive ping timeout")
async def nobody_answers_the_pings(sockets, cured):
    """One endpoint leaves a message unread, and uvicorn reads no more; another blocks its loop.

    Where they do neither, a ping sent meanwhile is answered.
    """
    timeouts = {"ping_interval": 0.01, "ping_timeout": 5 if cured else 0.3, "close_timeout": 0.1}
    released = threading.Event()

    async def blocks(socket: WebSocket):
        await socket.accept()
        await socket.receive_text()
        await asyncio.to_thread(released.wait, 8) if cured else released.wait(8)
        await socket.close()

    async def does_not_read(socket: WebSocket):
        await socket.accept()
        if cured:
            await socket.receive_text()
        await asyncio.to_thread(released.wait, 8)
        await socket.close()

    async def ask(endpoint):
        released.clear()
        async with sockets.talk(endpoint, **timeouts) as client:
            try:
                await client.send("a question")
                if cured:
                    await (await client.ping())
                    released.set()
                async for _ in client:
                    pass
            finally:
                released.set()

    with contextlib.nullcontext() if cured else pytest.raises(ConnectionClosed) as caught:
        await ask(does_not_read)
    assert cured or caught.value.sent.code == 1011
    await ask(blocks)


@produces("fastapi", "no close frame received or sent")
async def an_endpoint_ends_without_a_close(sockets, cured):
    """The endpoint returns, and the server drops the connection."""

    async def endpoint(socket: WebSocket):
        await socket.accept()
        if cured:
            await socket.close()

    async with sockets.talk(endpoint) as client:
        async for _ in client:
            pass


@produces("fastapi", "received 1000 (OK); then sent 1000 (OK)")
async def a_client_reads_after_the_last_message(sockets, cured):
    """`recv()` is called once more when the server has closed the socket in order."""

    async def endpoint(socket: WebSocket):
        await socket.accept()
        await socket.send_text("news")
        await socket.close()

    async with sockets.talk(endpoint) as client:
        if cured:
            assert [text async for text in client] == ["news"]
            return
        while True:
            await client.recv()


@produces("fastapi", "received 1012 (service restart)")
async def a_server_stops(cured):
    """A deploy stops the server under its client, and starts another in its place."""

    async def telling(socket: WebSocket):
        await socket.accept()
        await socket.send_text("news")
        await socket.close()

    async def news(url):
        async for client in connect(url, proxy=None):
            try:
                await client.recv()
                return
            except ConnectionClosed:
                if not cured:
                    raise

    with threaded(serving(patient)) as first:
        address = first.address
        reading = asyncio.create_task(news(f"ws://{address}/"))
        assert await until(lambda: bool(first.server_state.tasks))
    with threaded(serving(telling), port=int(address.rpartition(":")[2])):
        await reading


@produces("fastapi", "server rejected WebSocket connection: HTTP 403")
async def a_client_asks_for_another_path(sockets, cured):
    """No WebSocket route has this path."""
    path = "" if cured else "chat"

    async with sockets.served(serving(patient)) as url, connect(url + path, proxy=None):
        pass


@produces("fastapi", "(message too big)")
async def a_message_exceeds_the_clients_limit(sockets, cured):
    """The server sends more than 1 MiB in one message."""

    async def endpoint(socket: WebSocket):
        await socket.accept()
        await socket.send_text("x" * (2**20 + 1))
        await socket.close()

    async with sockets.talk(endpoint, **{"max_size": 2**21} if cured else {}) as client:
        async for _ in client:
            pass


@produces("fastapi", "cannot call recv while another coroutine is already running recv")
async def two_tasks_read_one_client(sockets, cured):
    """Two tasks call `recv()` of one connection; with a queue one reads for both."""
    async with sockets.talk(greeting_two) as client:
        if not cured:
            await asyncio.gather(client.recv(), client.recv())
        inbox = asyncio.Queue()
        await client.send("both")

        async def read():
            async for text in client:
                inbox.put_nowait(text)

        await asyncio.gather(read(), inbox.get(), inbox.get())


@produces("fastapi", "Concurrent call to receive() is not allowed")
async def two_tasks_read_one_aiohttp_socket(sockets, cured):
    """Two tasks call `receive()` of one aiohttp socket; with a queue one reads for both."""
    async with aiohttp_socket(sockets, greeting_two) as client:
        if not cured:
            await asyncio.gather(client.receive(), client.receive())
        inbox = asyncio.Queue()
        await client.send_str("both")

        async def read():
            async for message in client:
                inbox.put_nowait(message.data)

        await asyncio.gather(read(), inbox.get(), inbox.get())


@produces("fastapi", "is not WSMsgType.TEXT")
async def a_close_is_read_as_json(sockets, cured):
    """The server closes, and the client waits for JSON."""

    async def endpoint(socket: WebSocket):
        await socket.accept()
        await socket.send_json({"id": 1})
        await socket.close()

    async with aiohttp_socket(sockets, endpoint) as client:
        await client.receive_json()
        if not cured:
            await client.receive_json()
        assert [message async for message in client] == []


@produces("fastapi", "Cannot write to closing transport")
async def a_closed_aiohttp_socket_is_written_to(sockets, cured):
    """The server has closed the socket, and the client sends."""

    async def endpoint(socket: WebSocket):
        await socket.accept()
        await socket.close()

    async with aiohttp_socket(sockets, endpoint) as client:
        await client.receive()
        try:
            await client.send_str("news")
        except aiohttp.ClientConnectionResetError:
            if not cured:
                raise
            async with aiohttp_socket(sockets, patient) as another:
                await another.send_str("news")
