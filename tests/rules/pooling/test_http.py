"""Proofs of the pairs in rules/pooling/http.md, and its symptoms."""

import asyncio
import ssl
from contextlib import suppress
from typing import Annotated, Any

import aiohttp
import pytest
from fastapi import Depends, FastAPI

from tests.harness import produces, proves
from tests.observers.asgi import request, running
from tests.observers.waiting import until
from tests.servers.http import Answer, CountingServer
from tests.servers.tls import authority

PAGE = "pooling/http"
BIG = b"x" * 4_000_000  # more than sockets and aiohttp buffer, so somebody has to read it


@pytest.fixture
def ca(tmp_path):
    """A private certificate authority."""
    return authority(tmp_path)


@proves(PAGE, "one-bounded-session-per-process")
async def sessions_are_opened_per_request_and_bound_nothing(half):
    """Requests in a row connect anew, a burst is not limited, and a dripping body goes on."""
    release = asyncio.Event()

    async def script(seen):
        if seen.path == "/slow":
            await release.wait()
        return Answer(b"x" * 1000, drip=0.05) if seen.path == "/drip" else Answer()

    symptoms = set()
    app = FastAPI(lifespan=getattr(half, "lifespan", None))
    async with CountingServer(script) as upstream:

        @app.get("/{path}")
        async def relay(path: str, http: Annotated[Any, Depends(half.get_http)]) -> str:
            try:
                async with http.get(f"{upstream.url}/{path}") as response:
                    return await response.text()
            except TimeoutError:
                return "late"

        async def ask(path: str) -> str:
            return (await request(app, path, state=state)).json()

        async with running(app) as state:
            assert [await ask("/quick") for _ in range(5)] == ["ok"] * 5
            symptoms |= {"reconnects"} if upstream.connections == 5 else set()

            before = upstream.connections
            burst = [asyncio.create_task(ask("/slow")) for _ in range(40)]
            assert await until(lambda: upstream.seen("/slow") >= 20)
            await until(lambda: upstream.seen("/slow") == 40, limit=0.5)
            symptoms |= {"unlimited"} if upstream.connections - before == 40 else set()
            release.set()
            assert await asyncio.gather(*burst) == ["ok"] * 40

        half.TOTAL = 0.2
        async with running(app) as state:
            dripping = asyncio.create_task(ask("/drip"))
            await asyncio.wait({dripping}, timeout=0.8)
            symptoms |= set() if dripping.done() else {"drips"}
            assert "drips" in symptoms or dripping.result() == "late"
            dripping.cancel()
            await asyncio.wait({dripping})

    assert symptoms in (set(), {"reconnects", "drips", "unlimited"})
    return bool(symptoms)


@proves(PAGE, "trust-the-private-ca")
async def a_man_in_the_middle_reads_the_token(half, ca, tmp_path, monkeypatch):
    """A server receives the request whose certificate another, public, authority signed."""
    headers = {"Authorization": "Bearer secret"}
    (tmp_path / "stranger").mkdir()
    stranger = authority(tmp_path / "stranger")
    monkeypatch.setenv("SSL_CERT_FILE", str(stranger.ca_file))  # what the machine trusts
    assert len(ssl.create_default_context().get_ca_certs()) == 1
    async with (
        CountingServer(tls=ca.server()) as ours,
        CountingServer(tls=stranger.server()) as theirs,
        aiohttp.ClientSession(connector=half.connector(str(ca.ca_file))) as http,
    ):
        assert isinstance(http.connector, aiohttp.TCPConnector)
        async with http.get(ours.url, headers=headers) as response:
            assert (response.status, ours.seen("/")) == (200, 1)

        try:
            async with http.get(theirs.url, headers=headers):
                pass
        except aiohttp.ClientConnectorCertificateError:
            pass

        return [seen.headers["authorization"] for seen in theirs.requests] == ["Bearer secret"]


class Hasty:
    """Stands for asyncio in a half: notes how long it wants to sleep, and does not."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


@proves(PAGE, "retry-what-may-run-twice")
async def retries_repeat_effects_and_overrun(half):
    """A keyless POST is charged twice, a failed answer stays open, deadlines add up, in step."""
    half.asyncio = hasty = Hasty()
    charged: list[str] = []

    async def script(seen):
        if seen.path == "/charge":
            key = seen.headers.get("idempotency-key", f"none {len(charged)}")
            charged.extend({key} - set(charged))
            return None if upstream.seen("/charge") % 2 else Answer()  # every other one is lost
        if seen.path == "/silent":
            await asyncio.Event().wait()
        failing = seen.path == "/shaky" and upstream.seen("/shaky") % 3
        return Answer(BIG, 503) if failing else Answer()

    one_at_a_time = aiohttp.TCPConnector(limit=1)
    async with (
        CountingServer(script) as upstream,
        aiohttp.ClientSession(connector=one_at_a_time) as http,
    ):
        symptoms, key = set(), {"Idempotency-Key": "one"}
        assert await half.call(http, "GET", f"{upstream.url}/fine") == (200, b"ok")

        assert await half.call(http, "POST", f"{upstream.url}/charge", headers=key) == (200, b"ok")
        assert (charged, upstream.seen("/charge")) == (["one"], 2)
        with suppress(aiohttp.ServerDisconnectedError):
            await half.call(http, "POST", f"{upstream.url}/charge")
        symptoms |= {"charges twice"} if len(charged) == 3 else set()

        half.LIMIT = 0.15
        with pytest.raises(TimeoutError):
            await half.call(http, "GET", f"{upstream.url}/silent")
        symptoms |= {"deadlines add up"} if upstream.seen("/silent") == 3 else set()

        half.LIMIT = 0.5
        try:
            assert await half.call(http, "GET", f"{upstream.url}/shaky") == (200, b"ok")
        except TimeoutError:
            symptoms |= {"leaks"} if upstream.seen("/shaky") == 1 else set()
        assert upstream.seen("/shaky") == 3 or "leaks" in symptoms

        assert len(hasty.pauses) >= 3
        symptoms |= {"in step"} if len(set(hasty.pauses)) == 1 else set()

    assert symptoms in (set(), {"charges twice", "leaks", "deadlines add up", "in step"})
    return bool(symptoms)


@produces(PAGE, "Server disconnected")
async def a_post_on_a_stale_connection_fails():
    """What aiohttp says when the server had already closed the connection it reused."""
    async with CountingServer(idle=0.02) as upstream, aiohttp.ClientSession() as http:
        async with http.post(upstream.url) as response:
            await response.read()
        assert await until(lambda: upstream.dropped == 1)

        with pytest.raises(aiohttp.ClientError) as caught:
            await http.post(upstream.url)
        return str(caught.value)


@produces(PAGE, "Connection timeout to host")
async def a_full_pool_blames_the_host():
    """What `connect=` says of a host that answers at once, while the pool is full."""
    release = asyncio.Event()

    async def script(seen):
        await release.wait()
        return Answer()

    async with (
        CountingServer(script) as upstream,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http,
    ):
        holder = asyncio.create_task(http.get(upstream.url))
        assert await until(lambda: upstream.requests)

        with pytest.raises(aiohttp.ConnectionTimeoutError) as caught:
            await http.get(upstream.url, timeout=aiohttp.ClientTimeout(connect=0.05))
        release.set()
        (await holder).release()
        return str(caught.value)


@produces(PAGE, "CERTIFICATE_VERIFY_FAILED")
async def a_private_ca_is_not_trusted(ca):
    """What tempts people to switch verification off."""
    async with CountingServer(tls=ca.server()) as upstream, aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectorCertificateError) as caught:
            await http.get(upstream.url)
        return str(caught.value)
