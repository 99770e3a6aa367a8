"""Proofs of the traps in rules/pooling/http.md that concern one call and its answer."""

import asyncio
import inspect

import aiohttp
import httpx2
import pytest
from aiohttp.abc import AbstractResolver

from tests.harness import confirms
from tests.observers.waiting import until
from tests.servers.http import Answer, CountingServer, redirect

PAGE = "pooling/http"
BIG = b"x" * 4_000_000  # more than sockets and aiohttp buffer, so somebody has to read it
Timeout = aiohttp.ClientTimeout


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
    async with aiohttp.ClientSession() as untouched:
        assert untouched.timeout.total == 300
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


@confirms(PAGE, "raise-for-status")
async def raise_for_status_drops_the_reason():
    """The error names the status, and nothing in it holds the body."""

    async def declines(seen):
        return Answer(b"card_declined", 402)

    async with CountingServer(declines) as upstream, aiohttp.ClientSession() as http:
        assert await read(http, upstream.url) == b"card_declined"
        with pytest.raises(aiohttp.ClientResponseError, match="402") as caught:
            await read(http, upstream.url, raise_for_status=True)

    assert "card_declined" not in repr(vars(caught.value))


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

        async with (
            CountingServer(away) as upstream,
            aiohttp.ClientSession(headers=headers) as http,
            httpx2.AsyncClient(headers=headers, trust_env=False) as client,
        ):
            async with http.post(upstream.url, data=b"body", allow_redirects=False) as response:
                assert response.status == 307
            assert (await client.post(upstream.url, content=b"body")).status_code == 307
            assert elsewhere.requests == []

            async with http.post(upstream.url, data=b"body") as response:
                assert response.status == 200
            asked = await client.post(upstream.url, content=b"body", follow_redirects=True)
            assert asked.status_code == 200

    assert {seen.headers["authorization"] for seen in upstream.requests} == {"Bearer secret"}
    assert [
        (seen.headers.get("x-api-key"), seen.body, "authorization" in seen.headers)
        for seen in elsewhere.requests
    ] == [("secret", b"body", False)] * 2


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
