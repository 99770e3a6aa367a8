"""Proofs of the traps in rules/pooling/http.md that concern sessions and timeouts."""

import asyncio
import inspect

import aiohttp
import httpx2
import pytest
import uvicorn
from aiohttp.abc import AbstractResolver
from fastapi import FastAPI

from tests.harness import confirms, correct
from tests.observers.asgi import running
from tests.observers.waiting import until
from tests.servers.http import Answer, CountingServer, redirect

PAGE = "pooling/http"
BIG = b"x" * 4_000_000  # more than sockets and aiohttp buffer, so somebody has to read it
Timeout = aiohttp.ClientTimeout


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


async def drips(seen):
    return Answer(b"x" * 1000, drip=0.02)


@confirms(PAGE, "connect-alone")
@pytest.mark.parametrize(
    ("of_session", "of_call", "ends"),
    [
        (Timeout(connect=0.1), None, False),
        (Timeout(total=0.1), Timeout(sock_read=5), False),
        (Timeout(connect=0.1, total=0.1), None, True),
        (Timeout(), Timeout(total=0.1), True),
    ],
)
async def only_a_total_ends_a_dripping_answer(of_session, of_call, ends):
    """Without `total`, of the session or of the call that replaces it, reading goes on."""
    options = {"timeout": of_call} if of_call else {}
    async with CountingServer(drips) as upstream, aiohttp.ClientSession(timeout=of_session) as http:
        reading = asyncio.create_task(read(http, upstream.url, **options))
        await asyncio.wait({reading}, timeout=2 if ends else 0.25)

        assert reading.done() is ends
        if not ends:
            reading.cancel()
        await asyncio.wait({reading})
        assert reading.cancelled() or isinstance(reading.exception(), TimeoutError)


@confirms(PAGE, "connect-alone")
async def connect_counts_the_wait_for_the_pool():
    """With a full pool `connect` blames a host that answers; `sock_connect` waits its turn."""
    release = asyncio.Event()

    async def script(seen):
        if seen.path == "/slow":
            await release.wait()
        return Answer()

    one_at_a_time = aiohttp.TCPConnector(limit=1)
    async with (
        CountingServer(script) as upstream,
        aiohttp.ClientSession(connector=one_at_a_time) as http,
    ):
        slow = asyncio.create_task(read(http, f"{upstream.url}/slow"))
        assert await until(lambda: upstream.requests)
        patient = Timeout(sock_connect=0.05)
        queued = asyncio.create_task(read(http, upstream.url, timeout=patient))

        with pytest.raises(aiohttp.ConnectionTimeoutError, match=upstream.url):
            await read(http, upstream.url, timeout=Timeout(connect=0.1))
        release.set()
        assert await asyncio.gather(slow, queued) == [b"ok", b"ok"]


@confirms(PAGE, "clienterror-alone")
async def a_total_timeout_is_no_client_error():
    """`except aiohttp.ClientError` lets the total timeout through."""
    async with CountingServer(drips) as upstream, aiohttp.ClientSession() as http:
        with pytest.raises(TimeoutError) as caught:
            await read(http, upstream.url, timeout=Timeout(total=0.05))

    assert not isinstance(caught.value, aiohttp.ClientError)


@confirms(PAGE, "clienterror-alone")
async def raise_for_status_drops_the_reason():
    """The error names the status, and nothing in it holds the body."""

    async def declines(seen):
        return Answer(b"card_declined", 402)

    async with CountingServer(declines) as upstream, aiohttp.ClientSession() as http:
        assert await read(http, upstream.url) == b"card_declined"
        with pytest.raises(aiohttp.ClientResponseError, match="402") as caught:
            await read(http, upstream.url, raise_for_status=True)

    assert "card_declined" not in repr(vars(caught.value))


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


@confirms(PAGE, "unread-responses")
@pytest.mark.filterwarnings("ignore")
async def an_unread_response_keeps_its_connection():
    """With a pool of one, the next call waits for a big body nobody reads."""

    async def script(seen):
        return Answer(BIG if seen.path == "/big" else b"ok")

    connector = aiohttp.TCPConnector(limit=1)
    async with (
        CountingServer(script) as upstream,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        async with http.get(f"{upstream.url}/big") as response:
            assert response.status == 200
        assert await read(http, upstream.url) == b"ok"

        small = await http.get(upstream.url)
        assert await read(http, upstream.url) == b"ok"

        unread = await http.get(f"{upstream.url}/big")
        with pytest.raises(TimeoutError):
            await read(http, upstream.url, timeout=Timeout(total=0.3))
        unread.close()
        small.close()


@confirms(PAGE, "redirects-carry-keys")
async def keys_and_bodies_follow_a_redirect_to_another_host():
    """Authorization stays behind; an API key and the body of a 307 arrive elsewhere."""
    headers = {"Authorization": "Bearer secret", "X-Api-Key": "secret"}
    async with CountingServer() as elsewhere:

        async def away(seen):
            return redirect(elsewhere.named("localhost"), 307)

        async with CountingServer(away) as upstream, aiohttp.ClientSession(headers=headers) as http:
            async with http.post(upstream.url, data=b"body", allow_redirects=False) as response:
                assert (response.status, elsewhere.requests) == (307, [])
            async with http.post(upstream.url, data=b"body") as response:
                assert response.status == 200

        async with CountingServer(away) as upstream, httpx2.AsyncClient(trust_env=False) as client:
            assert (await client.get(upstream.url, headers=headers)).status_code == 307

    (arrived,) = elsewhere.requests
    assert (arrived.headers.get("x-api-key"), arrived.body) == ("secret", b"body")
    assert "authorization" not in arrived.headers
    assert upstream.requests[0].headers["authorization"] == "Bearer secret"


class Resolver(AbstractResolver):
    """Resolves every name to loopback and counts how often it was asked."""

    asked = 0

    async def resolve(self, host, port=0, family=0):
        self.asked += 1
        found = {"hostname": host, "host": "127.0.0.1", "port": port}
        return [found | {"family": 2, "proto": 0, "flags": 0}]

    async def close(self):
        pass


@confirms(PAGE, "dns-after-failover")
async def a_busy_connection_is_not_resolved_again():
    """Even without a DNS cache one look-up serves every request on the connection."""
    default = inspect.signature(aiohttp.TCPConnector).parameters["ttl_dns_cache"].default
    assert default == 10

    resolver = Resolver()
    connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False)
    async with (
        CountingServer() as upstream,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        url = upstream.named("api.internal")
        for _ in range(5):
            await read(http, url)
        assert resolver.asked == 1

        await read(http, url, headers={"Connection": "close"})
        await read(http, url)
        assert resolver.asked == 2
