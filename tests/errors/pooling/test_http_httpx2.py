"""Texts of httpx2's client."""

import asyncio
import os
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest

from tests.errors.pooling.answers import CLOSE, answering, slow
from tests.harness.errors import produces
from tests.observers.waiting import until
from tests.servers.http import Answer, CountingServer
from tests.servers.ports import free_port

IMPATIENT = httpx2.Timeout(9, connect=0.05)


@produces("pooling", "Cannot send a request, as the client has been closed")
async def a_client_is_used_after_its_block(cured):
    """A task goes on after the block of the client that it uses."""

    async def ask():
        await leave.wait()
        return (await client.get(upstream.url)).text

    leave = asyncio.Event()
    async with CountingServer() as upstream:
        async with httpx2.AsyncClient() as client:
            task = asyncio.create_task(ask())
            if cured:
                leave.set()
                await asyncio.wait([task])
        leave.set()
        assert await task == "ok"


@produces("pooling", "All connection attempts failed")
async def nothing_listens():
    """A client asks where no server listens."""
    async with httpx2.AsyncClient() as client:
        await client.get(f"http://localhost:{free_port()}")


@produces("pooling", "Server disconnected without sending a response")
async def a_kept_connection_is_gone(cured):
    """A request is sent on a kept connection that the server has closed meanwhile."""
    limits = httpx2.Limits(keepalive_expiry=0.001 if cured else 5)
    async with CountingServer(idle=0.02) as upstream, httpx2.AsyncClient(limits=limits) as client:
        for _ in range(2):
            assert (await client.get(upstream.url)).text == "ok"
            assert await until(lambda: upstream.dropped)


@produces("pooling", "peer closed connection without sending complete message body")
async def a_body_ends_early(cured):
    """The server goes away in the middle of a body."""
    cut = Answer(b"ok", headers={"Content-Length": "9"})
    async with (
        CountingServer(answering(cut, Answer())) as upstream,
        httpx2.AsyncClient(headers=CLOSE) as client,
    ):
        for left in (1, 0):
            try:
                assert (await client.get(upstream.url)).text == "ok"
            except httpx2.TransportError:
                if not (cured and left):
                    raise


@produces("pooling", "httpx2.PoolTimeout")
async def the_pool_is_full(cured):
    """More calls are made at once than the pool has connections, and they take their time."""
    release, asked, limit = asyncio.Event(), asyncio.Event(), asyncio.Semaphore(1)

    async def script(request):
        asked.set()
        await release.wait()
        return Answer()

    async def ask():
        if cured:
            async with limit:
                return (await client.get(upstream.url)).text
        return (await client.get(upstream.url)).text

    async with (
        CountingServer(script) as upstream,
        httpx2.AsyncClient(
            limits=httpx2.Limits(max_connections=1), timeout=httpx2.Timeout(9, pool=0.01)
        ) as client,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(ask())
        await asked.wait()
        waiting = group.create_task(ask())
        if cured:
            release.set()
        assert await waiting == "ok"


@produces("pooling", "httpx2.ReadTimeout")
async def the_answer_is_late(cured):
    """A server is slower than the client waits for a byte."""
    timeout = httpx2.Timeout(9, read=9 if cured else 0.01)
    async with (
        CountingServer(slow(0.05 if cured else 60)) as upstream,
        httpx2.AsyncClient(timeout=timeout) as client,
    ):
        assert (await client.get(upstream.url)).text == "ok"


async def a_server_is_full():
    """Its queue of connections is full, and it takes none from it."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(address)
            async with httpx2.AsyncClient(timeout=IMPATIENT) as client:
                await client.get(f"http://127.0.0.1:{address[1]}")
        finally:
            for each in waiting:
                each.close()


async def a_handshake_hangs():
    """A connection stands, and nobody speaks TLS on it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with httpx2.AsyncClient(timeout=IMPATIENT) as client:
            await client.get(f"https://127.0.0.1:{silent.getsockname()[1]}")


async def the_loop_is_blocked():
    """The server is there, and the client's own loop does something else."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with httpx2.AsyncClient(timeout=IMPATIENT) as client:
            asking = asyncio.create_task(client.get(f"http://127.0.0.1:{server.getsockname()[1]}"))
            while not asking.done():
                await asyncio.sleep(0)
                time.sleep(0.1)  # noqa: ASYNC251 - it is what the text is about
            await asking


@pytest.mark.parametrize("happens", [a_server_is_full, a_handshake_hangs, the_loop_is_blocked])
@produces("pooling", "httpx2.ConnectTimeout")
async def no_connection_stands_in_time(happens):
    """What lies between the call and a connection takes longer than `connect`."""
    await happens()


@produces("pooling", "Attempted to access streaming response content")
async def a_streams_error_is_reported(cured):
    """The body of a failed answer is logged inside `client.stream`."""
    failed = Answer(b"no such order", 404)
    async with (
        CountingServer(answering(failed)) as upstream,
        httpx2.AsyncClient() as client,
        client.stream("GET", upstream.url) as response,
    ):
        if cured:
            await response.aread()
        assert response.text == "no such order"


@produces("pooling", "Request URL is missing an 'http://' or 'https://' protocol")
async def a_path_is_asked_for(cured):
    """A client without a base URL gets a path."""
    async with CountingServer() as upstream:
        options = {"base_url": upstream.url} if cured else {}
        async with httpx2.AsyncClient(**options) as client:
            assert (await client.get("/orders")).text == "ok"


@produces("pooling", "Client error '4")
async def a_status_is_raised(cured):
    """The service refuses, and the caller raises for the status without reading why."""
    refused = Answer(b"no such order", 404)
    async with CountingServer(answering(refused)) as upstream, httpx2.AsyncClient() as client:
        response = await client.get(upstream.url)
        if cured and response.is_error:
            assert response.text == "no such order"
        else:
            response.raise_for_status()


@produces("pooling", "got an unexpected keyword argument 'proxies'")
async def an_old_sdk_makes_a_client(cured):
    """A client gets the parameter that httpx had until 0.27."""
    options = {"proxy": "http://127.0.0.1:1"} if cured else {"proxies": {}}
    await httpx2.AsyncClient(**options).aclose()


@produces("pooling", "Illegal header value")
async def a_token_ends_with_a_newline(cured):
    """A token is read from a file with its last newline, and another is not set at all."""
    tokens = ["secret\n", os.environ.get("TOKEN_THAT_NOBODY_SET", "")]
    if cured:
        tokens = [token.strip() for token in tokens if token]
    async with CountingServer() as upstream, httpx2.AsyncClient() as client:
        headers = [{"Authorization": f"Bearer {token}"} for token in tokens]
        calls = [client.get(upstream.url, headers=each) for each in headers]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    if errors := [answer for answer in answers if isinstance(answer, Exception)]:
        raise ExceptionGroup("calls failed", errors)
    assert [answer.text for answer in answers] == ["ok"]


@produces("pooling", "sync request with an AsyncClient instance")
async def a_generator_is_the_body(cured):
    """The body is a generator without `async`."""

    def parts():
        yield b"first"

    async def read():
        for part in parts():
            yield part

    async with CountingServer() as upstream, httpx2.AsyncClient() as client:
        await client.post(upstream.url, content=read() if cured else parts())
    assert upstream.requests[0].body == b"first"


class Kept(BaseHTTPRequestHandler):
    """Answers each request, and keeps the connection."""

    protocol_version = "HTTP/1.1"

    def handle(self):
        with suppress(ConnectionError):  # the client's end, when its loop has ended
            super().handle()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        """Say nothing."""


@produces("pooling", "Event loop is closed")
def a_client_meets_a_second_loop(cured):
    """A client keeps a connection of an event loop that has ended."""

    async def ask():
        return (await client.get(f"http://127.0.0.1:{server.server_port}")).status_code

    with ThreadingHTTPServer(("127.0.0.1", 0), Kept) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        client = httpx2.AsyncClient()
        try:
            with asyncio.Runner() as runner:
                for _ in range(2):
                    assert (runner.run(ask()) if cured else asyncio.run(ask())) == 200
                runner.run(client.aclose())
        finally:
            server.shutdown()
            thread.join()
