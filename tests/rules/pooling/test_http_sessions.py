"""Proofs of the traps in rules/pooling/http.md that a session's settings avoid."""

import asyncio
import socket
from http.cookiejar import CookieJar, DefaultCookiePolicy

import aiohttp
import httpx2
import pytest
import uvicorn
from fastapi import FastAPI

from tests.harness import confirms, correct
from tests.observers.asgi import running
from tests.observers.waiting import until
from tests.servers.http import Answer, CountingServer
from tests.servers.ports import free_port

PAGE = "pooling/http"


def recommended(**constants):
    """The session of the rule's lifespan, as a context manager that yields the state."""
    half = correct(PAGE, "one-bounded-session-per-process")
    for name, value in constants.items():
        assert hasattr(half, name)
        setattr(half, name, value)
    return running(FastAPI(lifespan=half.lifespan))


async def read(http, url, **options):
    async with http.get(url, **options) as response:
        return await response.read()


@confirms(PAGE, "limit-without-limit-per-host")
@pytest.mark.parametrize("starved", [True, False])
async def a_slow_host_takes_every_connection(starved):
    """By default 100 requests to one host keep out another; the rule's session lets it in."""
    release = asyncio.Event()

    async def sick_script(seen):
        await release.wait()
        return Answer()

    async with CountingServer(sick_script) as sick, CountingServer() as healthy:

        async def check(http):
            stuck = [asyncio.create_task(read(http, sick.url)) for _ in range(100)]
            assert await until(lambda: len(sick.requests) == (100 if starved else 20))
            call = asyncio.create_task(read(http, healthy.url))
            await asyncio.wait({call}, timeout=0.3 if starved else 3)

            assert call.done() is not starved
            release.set()
            assert await asyncio.gather(call, *stuck) == [b"ok"] * 101

        if starved:
            async with aiohttp.ClientSession() as http:
                await check(http)
        else:
            async with recommended(TOTAL=30) as state:
                await check(state["http"])


async def after_a_drop(http, upstream, method):
    """Send a request on a connection that the server has dropped meanwhile."""
    async with http.request(method, upstream.url) as response:
        await response.read()
    assert await until(lambda: upstream.dropped == upstream.connections)
    async with http.request(method, upstream.url) as response:
        return response.status


@confirms(PAGE, "stale-connections")
async def a_post_dies_on_a_dropped_connection():
    """By default a POST fails where a GET is sent again; in the rule's session it succeeds."""
    assert uvicorn.Config("unused").timeout_keep_alive == 5
    async with httpx2.AsyncClient() as client:
        assert client._transport._pool._keepalive_expiry == 5
    async with CountingServer(idle=0.1) as upstream, aiohttp.ClientSession() as http:
        assert http.connector._keepalive_timeout == 15
        for method in ("GET", "PUT", "DELETE"):
            assert await after_a_drop(http, upstream, method) == 200
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await after_a_drop(http, upstream, "POST")

    async with CountingServer(idle=0.1) as upstream, recommended(SERVER_IDLE=0.05) as state:
        assert await after_a_drop(state["http"], upstream, "POST") == 200


@confirms(PAGE, "stale-connections")
async def aiohttp_sends_again_once():
    """A GET whose second connection closes too fails after two requests."""

    async def script(seen):
        return Answer() if len(upstream.requests) == 1 else None

    async with CountingServer(script) as upstream, aiohttp.ClientSession() as http:
        await read(http, upstream.url)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await read(http, upstream.url)

    assert len(upstream.requests) == 3


@confirms(PAGE, "stale-connections")
@pytest.mark.parametrize(("keep_alive", "answer"), [(0.05, b""), (60, b"HTTP/1.1 404")])
async def a_balancer_gets_no_answer_from_a_connection_uvicorn_closed(keep_alive, answer):
    """A request after uvicorn's keep-alive meets a closed connection, one before it is answered."""
    config = uvicorn.Config(
        FastAPI(), port=free_port(), log_level="critical", timeout_keep_alive=keep_alive
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    assert await until(lambda: server.started or serving.done())
    idle_connections = server.server_state.connections
    try:
        with socket.create_connection(("127.0.0.1", config.port), timeout=5) as balancer:
            head = b"HEAD / HTTP/1.1\r\nHost: test\r\n\r\n"
            balancer.send(head)
            assert (await asyncio.to_thread(balancer.recv, 12)) == b"HTTP/1.1 404"
            await until(lambda: not idle_connections, limit=5 if keep_alive < 1 else 0.3)
            rest = await asyncio.to_thread(balancer.recv, 1000)
            balancer.send(head)

            assert await asyncio.to_thread(balancer.recv, 12) == answer
            assert rest.endswith(b"\r\n\r\n")
    finally:
        server.should_exit = True
        await serving


async def keep_six(get, upstream, release):
    """Have six connections in the pool, and the server drop them all."""
    calls = [asyncio.create_task(get()) for _ in range(6)]
    assert await until(lambda: len(upstream.requests) == 6)
    release.set()
    await asyncio.gather(*calls)
    assert await until(lambda: upstream.dropped == 6)


def holding(release):
    """A script that answers once `release` is set."""

    async def script(seen):
        await release.wait()
        return Answer()

    return script


@confirms(PAGE, "all-connections-stale")
@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}])
async def six_dead_connections_fail_three_attempts(headers, monkeypatch):
    """A GET of `call` meets two of them in each attempt; a session without a pool none."""
    half = correct(PAGE, "retry-what-may-run-twice")
    monkeypatch.setattr(half.random, "uniform", lambda low, high: 0)
    release = asyncio.Event()
    fresh_connector = aiohttp.TCPConnector(force_close=True)
    async with (
        CountingServer(holding(release), idle=0.1) as upstream,
        recommended(SERVER_IDLE=60, TOTAL=30) as state,
        aiohttp.ClientSession(connector=fresh_connector) as fresh,
    ):
        await keep_six(lambda: read(state["http"], upstream.url), upstream, release)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await half.call(state["http"], "GET", upstream.url, headers=headers)
        assert (upstream.connections, len(upstream.requests)) == (6, 6)

        for connections in (7, 8, 9):
            assert await half.call(fresh, "GET", upstream.url) == (200, b"ok")
            assert upstream.connections == connections


@confirms(PAGE, "all-connections-stale")
async def httpx2_takes_the_next_dead_connection_too():
    """Six attempts fail on six dead connections; a client that keeps none connects anew."""
    release = asyncio.Event()
    none_kept = httpx2.Limits(max_keepalive_connections=0)
    async with (
        CountingServer(holding(release), idle=0.1) as upstream,
        httpx2.AsyncClient(trust_env=False) as client,
        httpx2.AsyncClient(trust_env=False, limits=none_kept) as fresh,
    ):
        await keep_six(lambda: client.get(upstream.url), upstream, release)
        for _ in range(6):
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.get(upstream.url)
        assert (upstream.connections, len(upstream.requests)) == (6, 6)

        for connections in (7, 8, 9):
            assert (await fresh.get(upstream.url)).status_code == 200
            assert upstream.connections == connections


async def login(seen):
    headers = {"Set-Cookie": "sid=alice; Path=/"} if seen.path == "/login" else {}
    return Answer(seen.headers.get("cookie", "").encode(), headers=headers)


@confirms(PAGE, "shared-cookies")
async def one_users_cookie_is_sent_for_the_next():
    """A shared jar carries the login on (aiohttp's not to an address), the rule's session not."""
    async with (
        CountingServer(login) as upstream,
        recommended() as state,
        httpx2.AsyncClient(trust_env=False) as client,
    ):

        async def next_user(http, url):
            await read(http, f"{url}/login")
            return await read(http, f"{url}/me")

        async with aiohttp.ClientSession() as http:
            assert await next_user(http, upstream.url) == b""
            assert await next_user(http, upstream.named("localhost")) == b"sid=alice"
        assert await next_user(state["http"], upstream.named("localhost")) == b""

        await client.get(f"{upstream.url}/login")
        assert (await client.get(f"{upstream.url}/me")).text == "sid=alice"

        nobodys = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        async with httpx2.AsyncClient(trust_env=False, cookies=nobodys) as careful:
            await careful.get(f"{upstream.url}/login")
            assert (await careful.get(f"{upstream.url}/me")).text == ""
