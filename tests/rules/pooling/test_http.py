"""Proofs of the pairs in rules/pooling/http.md."""

import asyncio
import ssl
from contextlib import suppress
from typing import Annotated, Any

import aiohttp
import pytest
from fastapi import Depends, FastAPI

from tests.harness import proves
from tests.observers.asgi import request, running
from tests.observers.hasty import Hasty
from tests.observers.waiting import until
from tests.servers.http import Answer, CountingServer, redirect
from tests.servers.tls import authority

PAGE = "pooling/http"
BODY = b"x" * 1000
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

            connections_for_five = upstream.connections
            burst = [asyncio.create_task(ask("/slow")) for _ in range(40)]
            assert await until(lambda: upstream.seen("/slow") >= 20)
            await until(lambda: upstream.seen("/slow") == 40, limit=0.5)
            symptoms |= (
                {"unlimited"} if upstream.connections - connections_for_five == 40 else set()
            )
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

        read = [seen.headers["authorization"] for seen in theirs.requests]
        return read == ["Bearer secret"]


async def stream():
    """A body that can be read once."""
    yield BODY


@proves(PAGE, "retry-what-may-run-twice")
async def retries_repeat_effects_and_overrun(half):
    """Charged twice, emptied, sent elsewhere, in step and early; answers open, deadlines added."""
    half.asyncio = hasty = Hasty()
    charged: list[str] = []

    async def script(seen):
        if seen.path == "/charge":
            key = seen.headers.get("idempotency-key", f"none {len(charged)}")
            charged.extend({key} - set(charged))
            return None if upstream.seen("/charge") % 2 else Answer()  # every other one is lost
        if seen.path == "/silent":
            await asyncio.Event().wait()
        if seen.path == "/away":
            return redirect(elsewhere.url, 307)
        if seen.path == "/busy" and upstream.seen("/busy") == 1:
            return Answer(status=503, headers={"Retry-After": "5"})
        if seen.path == "/shaky" and upstream.seen("/shaky") % 3:
            return Answer(BIG, 503)
        return Answer(status=503 if seen.path == "/file" and seen.body else 200)

    one_at_a_time = aiohttp.TCPConnector(limit=1)
    async with (
        CountingServer() as elsewhere,
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

        status, _ = await half.call(http, "PUT", f"{upstream.url}/file", data=stream())
        bodies = [seen.body for seen in upstream.requests if seen.path == "/file"]
        assert (status, bodies) in ((200, [BODY, b""]), (503, [BODY]))
        symptoms |= {"empties"} if status == 200 else set()

        await half.call(http, "PUT", f"{upstream.url}/away", data=b"secret")
        symptoms |= (
            {"follows"} if [seen.body for seen in elsewhere.requests] == [b"secret"] else set()
        )

        assert await half.call(http, "GET", f"{upstream.url}/busy") == (200, b"ok")
        assert upstream.seen("/busy") == 2
        symptoms |= {"hurries"} if hasty.pauses[-1] < 5 else set()

        half.LIMIT = 0.15
        with pytest.raises(TimeoutError):
            await half.call(http, "GET", f"{upstream.url}/silent")
        symptoms |= {"deadlines add up"} if upstream.seen("/silent") == 3 else set()

        half.LIMIT = 5
        try:
            async with asyncio.timeout(1.5):
                assert await half.call(http, "GET", f"{upstream.url}/shaky") == (200, b"ok")
        except TimeoutError:
            symptoms |= {"leaks"} if upstream.seen("/shaky") == 1 else set()
        assert upstream.seen("/shaky") == 3 or "leaks" in symptoms

        assert len(hasty.pauses) >= 4
        symptoms |= {"in step"} if len(set(hasty.pauses)) == 1 else set()

    everything = {"charges twice", "empties", "follows", "hurries", "deadlines add up", "leaks"}
    assert symptoms in (set(), everything | {"in step"})
    return bool(symptoms)
