"""Proofs of the traps in rules/pooling/http.md that concern layers of retries and httpx2."""

import asyncio
import gc
import time

import aiohttp
import httpx
import httpx2
import pytest

from tests.harness import confirms, correct
from tests.observers.waiting import until
from tests.servers.http import Answer, CountingServer

PAGE = "pooling/http"
BIG = b"x" * 4_000_000  # more than sockets and aiohttp buffer, so somebody has to read it
MIDDLEWARE = hasattr(aiohttp, "ClientHandlerType")  # since aiohttp 3.12


def retrying(*, release):
    """A client middleware that sends each failed request up to three times."""

    async def retry(request, handler):
        for _ in range(2):
            response = await handler(request)
            if response.status < 500:
                return response
            if release:
                response.release()
        return await handler(request)

    return retry


@confirms(PAGE, "retries-in-two-layers")
async def middleware_needs_aiohttp_3_12():
    """Sessions take middlewares exactly where the version is 3.12 or newer."""
    major, minor, *_ = aiohttp.__version__.split(".")
    assert MIDDLEWARE is ((int(major), int(minor)) >= (3, 12))
    if not MIDDLEWARE:
        with pytest.raises(TypeError, match="middlewares"):
            aiohttp.ClientSession(middlewares=())


@confirms(PAGE, "retries-in-two-layers")
async def three_attempts_in_two_layers_are_nine(monkeypatch):
    """The upstream that fails sees the product of both layers' attempts."""

    async def fails(seen):
        return Answer(status=503)

    half = correct(PAGE, "retry-what-may-run-twice")
    monkeypatch.setattr(half.random, "uniform", lambda low, high: 0)
    async with CountingServer(fails) as upstream, aiohttp.ClientSession() as http:
        for _ in range(3):
            assert await half.call(http, "GET", upstream.url) == (503, b"ok")

    assert len(upstream.requests) == 9


@confirms(PAGE, "retries-in-two-layers")
@pytest.mark.skipif(not MIDDLEWARE, reason="aiohttp before 3.12 has no middlewares")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("release", [True, False])
async def a_middleware_waits_for_the_connection_it_holds(release):
    """Unless it releases the failed response, a retry in a pool of one never gets through."""

    async def script(seen):
        return Answer(BIG, 503) if len(upstream.requests) < 3 else Answer()

    async with (
        CountingServer(script) as upstream,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1),
            middlewares=(retrying(release=release),),
            timeout=aiohttp.ClientTimeout(total=5 if release else 0.3),
        ) as http,
    ):
        if release:
            async with http.get(upstream.url) as response:
                assert await response.read() == b"ok"
        else:
            with pytest.raises(TimeoutError):
                await http.get(upstream.url)

    assert len(upstream.requests) == (3 if release else 1)
    gc.collect()  # the response nobody released complains now, where that is ignored


@confirms(PAGE, "asyncclient-per-call")
async def a_client_loads_authorities_while_it_is_made():
    """Made without a context, a client takes many times as long, and the loop waits for it."""

    def took(**options):
        started = time.perf_counter()
        httpx2.AsyncClient(**options)
        return time.perf_counter() - started

    context = httpx2.create_ssl_context()
    loading = min(took() for _ in range(5))
    shared = min(took(verify=context) for _ in range(5))

    assert loading > 5 * shared


async def drips(seen):
    return Answer(b"x" * 1000, drip=0.02)


@confirms(PAGE, "httpx2-timeouts")
async def an_httpx2_timeout_is_no_deadline():
    """A dripping answer goes on past the timeout, and ends with asyncio's."""
    async with (
        CountingServer(drips) as upstream,
        httpx2.AsyncClient(timeout=0.25, trust_env=False) as client,
    ):
        reading = asyncio.create_task(client.get(upstream.url))
        await asyncio.wait({reading}, timeout=0.5)
        assert not reading.done()
        reading.cancel()
        await asyncio.wait({reading})

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.get(upstream.url)


@confirms(PAGE, "httpx2-timeouts")
async def a_burst_fails_in_the_pool():
    """What waits for a connection times out, though the server answers; a semaphore queues it."""
    release = asyncio.Event()

    async def script(seen):
        await release.wait()
        return Answer()

    async with httpx2.AsyncClient() as client:
        assert (client._transport._pool._max_connections, client.timeout.pool) == (100, 5)

    limits = httpx2.Limits(max_connections=2)
    timeout = httpx2.Timeout(5, pool=0.1)
    slots = asyncio.Semaphore(2)

    async with (
        CountingServer(script) as upstream,
        httpx2.AsyncClient(limits=limits, timeout=timeout, trust_env=False) as client,
    ):

        async def queued():
            async with slots:
                return await client.get(upstream.url)

        holders = [asyncio.create_task(queued()) for _ in range(2)]
        assert await until(lambda: len(upstream.requests) == 2)
        waiting = asyncio.create_task(queued())
        with pytest.raises(httpx2.PoolTimeout):
            await client.get(upstream.url)
        release.set()

        answers = await asyncio.gather(waiting, *holders)
        assert [answer.status_code for answer in answers] == [200] * 3


@confirms(PAGE, "httpx2-retries")
async def httpx2_retries_cover_connecting_only():
    """A connection that closes without an answer is not tried again."""

    async def closes(seen):
        return None

    transport = httpx2.AsyncHTTPTransport(retries=3)
    async with (
        CountingServer(closes) as upstream,
        httpx2.AsyncClient(transport=transport) as client,
    ):
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(upstream.url)

    assert len(upstream.requests) == 1


@confirms(PAGE, "httpx-and-httpx2")
async def neither_catches_the_others_errors():
    """The error of one is not an error of the other, in a real failure of each."""
    async with CountingServer() as upstream:
        closed = upstream.url
    for library, other in ((httpx, httpx2), (httpx2, httpx)):
        async with library.AsyncClient(trust_env=False) as client:
            with pytest.raises(library.ConnectError) as caught:
                await client.get(closed)
        assert not isinstance(caught.value, other.HTTPError)
