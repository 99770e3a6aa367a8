"""Texts of aiohttp's client."""

import asyncio
import gc
import itertools
import os
import resource
import socket

import aiohttp

from tests.errors.pooling.answers import CLOSE, answering, slow
from tests.harness.errors import produces
from tests.observers.waiting import until
from tests.servers.http import Answer, CountingServer
from tests.servers.ports import free_port


def with_free_numbers(count):
    """The limit on open files below which so many numbers are free."""
    used = set(map(int, os.listdir("/proc/self/fd")))
    free = (number for number in itertools.count() if number not in used)
    return next(itertools.islice(free, count, None))


@produces("pooling", "Unclosed client session")
async def a_session_is_dropped(cured):
    """A function makes a session, asks once, and forgets it."""

    async def ask(http):
        async with http.get(upstream.url) as response:
            await response.read()

    async with CountingServer() as upstream:
        if cured:
            async with aiohttp.ClientSession() as session:
                await ask(session)
        else:
            await ask(aiohttp.ClientSession())
            gc.collect()
    assert upstream.seen("/") == 1


@produces("pooling", "Session is closed")
async def a_session_is_used_after_its_block(cured):
    """A task goes on after the block of the session that it uses."""

    async def ask():
        await leave.wait()
        async with session.get(upstream.url) as response:
            return await response.text()

    leave = asyncio.Event()
    async with CountingServer() as upstream:
        async with aiohttp.ClientSession() as session:
            task = asyncio.create_task(ask())
            if cured:
                leave.set()
                await asyncio.wait([task])
        leave.set()
        assert await task == "ok"


@produces("pooling", "ClientConnectionError: Connection closed")
async def a_body_is_read_after_its_block(cured):
    """The block of a response ends before its body is read."""
    whole = Answer(b"x" * 2**20)
    async with CountingServer(answering(whole)) as upstream, aiohttp.ClientSession() as http:
        async with http.get(upstream.url) as response:
            body = await response.read() if cured else b""
        assert len(body or await response.read()) == 2**20


@produces("pooling", "Timeout context manager should be used inside a task")
def a_session_meets_a_second_loop(cured):
    """A session made in one event loop is used in another."""

    async def make():
        return aiohttp.ClientSession()

    async def ask():
        async with CountingServer() as upstream, session.get(upstream.url) as response:
            assert await response.text() == "ok"

    with asyncio.Runner() as runner:
        session = runner.run(make())
        try:
            runner.run(ask()) if cured else asyncio.run(ask())
        finally:
            runner.run(session.close())


@produces("pooling", "Cannot connect to host")
async def nothing_listens():
    """A client asks where no server listens."""
    async with aiohttp.ClientSession() as http:
        await http.get(f"http://127.0.0.1:{free_port()}")


@produces("pooling", "Server disconnected")
async def a_kept_connection_is_gone(cured):
    """A request is sent on a kept connection that the server has closed meanwhile."""
    connector = aiohttp.TCPConnector(keepalive_timeout=0.001 if cured else 15)
    async with (
        CountingServer(idle=0.02) as upstream,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        for _ in range(2):
            async with http.post(upstream.url) as response:
                await response.read()
            assert await until(lambda: upstream.dropped)


@produces("pooling", "Connection reset by peer")
async def a_server_resets(cured):
    """The first connection is reset; a request that the server knows again is repeated."""
    resets, key = [True], {"Idempotency-Key": "order-1"}

    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        if resets:
            resets.clear()
            at_once = (1).to_bytes(4, "little") + bytes(4)
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, aiohttp.ClientSession() as http:
        for left in (1, 0):
            try:
                async with http.post(url, headers=key) as response:
                    assert await response.text() == "ok"
            except aiohttp.ClientError:
                if not (cured and left):
                    raise


@produces("pooling", "Response payload is not completed")
async def a_body_ends_early(cured):
    """The server goes away in the middle of a body."""
    cut = Answer(b"ok", headers={"Content-Length": "9"})
    async with (
        CountingServer(answering(cut, Answer())) as upstream,
        aiohttp.ClientSession(headers=CLOSE) as http,
    ):
        for left in (1, 0):
            try:
                async with http.get(upstream.url) as response:
                    assert await response.text() == "ok"
            except aiohttp.ClientPayloadError:
                if not (cured and left):
                    raise


@produces("pooling", "unexpected mimetype")
async def an_error_page_is_read_as_json(cured):
    """A proxy's page is parsed as the answer of the service."""
    page = Answer(b"<h1>Bad Gateway</h1>", 502, {"Content-Type": "text/html"})
    async with (
        CountingServer(answering(page)) as upstream,
        aiohttp.ClientSession() as http,
        http.get(upstream.url) as response,
    ):
        if cured and response.status != 200:
            assert await response.text() == page.body.decode()
        else:
            await response.json()


@produces("pooling", "bytes when reading", where="aiohttp>=3.14")
async def a_line_is_longer_than_the_buffer(cured):
    """Events are read line by line, and one of them is large."""
    event = Answer(b"data: " + b"x" * 2**20 + b"\n")
    async with (
        CountingServer(answering(event)) as upstream,
        aiohttp.ClientSession() as http,
        http.get(upstream.url) as response,
    ):
        parts = response.content.iter_any() if cured else response.content
        assert sum([len(part) async for part in parts]) == len(event.body)


@produces("pooling", "Cannot serialize non-str key")
async def a_header_is_none(cured):
    """A header is built from a setting that is not set."""
    token = os.environ.get("TOKEN_THAT_NOBODY_SET")
    headers = {"X-Token": token} if token or not cured else {}
    async with (
        CountingServer() as upstream,
        aiohttp.ClientSession() as http,
        http.get(upstream.url, headers=headers) as response,
    ):
        assert await response.text() == "ok"


@produces("pooling", "Connection timeout to host")
async def the_pool_is_full(cured):
    """A request waits for a connection longer than for its server."""
    bounded = {"sock_connect": 5} if cured else {"connect": 0.05}
    release, asked = asyncio.Event(), asyncio.Event()

    async def script(request):
        asked.set()
        await release.wait()
        return Answer()

    async def ask(**options):
        async with http.get(upstream.url, **options) as response:
            return await response.text()

    async with (
        CountingServer(script) as upstream,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(ask())
        await asked.wait()
        waiting = group.create_task(ask(timeout=aiohttp.ClientTimeout(**bounded)))
        if cured:
            release.set()
        assert await waiting == "ok"


@produces("pooling", "Timeout on reading data from socket")
async def no_byte_comes_in_time(cured):
    """A server is slower than `sock_read` allows."""
    timeout = aiohttp.ClientTimeout(total=9) if cured else aiohttp.ClientTimeout(sock_read=0.01)
    async with (
        CountingServer(slow(0.05 if cured else 60)) as upstream,
        aiohttp.ClientSession(timeout=timeout) as http,
        http.get(upstream.url) as response,
    ):
        assert await response.text() == "ok"


@produces("pooling", "Too many open files")
async def every_request_opens_a_session(cured):
    """Each request has a session and with it a connection of its own."""

    async def ask(http):
        async with http.get(upstream.url) as response:
            return await response.text()

    async with CountingServer() as upstream:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (with_free_numbers(16), hard))
        connectors = [aiohttp.TCPConnector(limit_per_host=4) for _ in range(1 if cured else 40)]
        sessions = [aiohttp.ClientSession(connector=each) for each in connectors]
        try:
            asks = [ask(sessions[number % len(sessions)]) for number in range(40)]
            assert await asyncio.gather(*asks) == ["ok"] * 40
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for session in sessions:
                await session.close()
