"""Proofs of what rules/pooling/http.md says of its `call`, beside the pair itself."""

import asyncio
import functools

import aiohttp
import pytest
from multidict import CIMultiDict

from tests.harness import confirms, correct
from tests.harness.judge import run
from tests.observers.canceller import each_point
from tests.observers.hasty import Hasty
from tests.servers.http import Answer, CountingServer, redirect
from tests.servers.tls import authority

PAGE = "pooling/http"
KEY = {"Idempotency-Key": "one"}


def looped(scenario):
    """A test of the page that is about no trap, in an event loop of its own."""

    @functools.wraps(scenario)
    def test(**fixtures):
        run(scenario, 10, **fixtures)

    return test


@pytest.fixture
def half():
    """The half whose `call` is meant, with its pauses noted instead of waited for."""
    half = correct(PAGE, "retry-what-may-run-twice")
    half.asyncio = Hasty()
    return half


def busy(headers=None):
    async def script(seen):
        return Answer(status=503, headers=headers or {})

    return script


@looped
@pytest.mark.parametrize(
    ("method", "headers", "attempts"),
    [
        ("GET", None, 3),
        ("get", {}, 3),
        ("OPTIONS", {}, 3),
        ("POST", None, 1),
        ("PATCH", {}, 1),
        ("POST", {"idempotency-key": "one"}, 3),
        ("POST", [("Idempotency-Key", "one")], 3),
        ("POST", CIMultiDict({"Idempotency-KEY": "one"}), 3),
        ("POST", {"X-Key": "one"}, 1),
    ],
)
async def test_methods_and_keys_in_any_case(method, headers, attempts, half):
    """A method or key is recognised in lower case too, and headers may be None."""
    async with CountingServer(busy()) as upstream, aiohttp.ClientSession() as http:
        assert await half.call(http, method, upstream.url, headers=headers) == (503, b"ok")

    assert len(upstream.requests) == attempts


@confirms(PAGE, "stale-connections")
@pytest.mark.parametrize(("method", "sent"), [("GET", 6), ("PUT", 6), ("POST", 1)])
async def lost_answers_are_asked_for_twice_an_attempt(method, sent):
    """aiohttp itself repeats what is idempotent, in each of the three attempts of `call`."""
    half = correct(PAGE, "retry-what-may-run-twice")
    half.asyncio = Hasty()

    async def lose(seen):
        return None

    async with CountingServer(lose) as upstream, aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await half.call(http, method, upstream.url, data=b"x")

    assert len(upstream.requests) == sent


@confirms(PAGE, "raise-for-status")
async def a_session_that_raises_ends_call_at_the_first_503():
    """One attempt and its error, where a plain session makes three and returns the answer."""
    call = correct(PAGE, "retry-what-may-run-twice").call
    async with (
        CountingServer(busy()) as upstream,
        aiohttp.ClientSession(raise_for_status=True) as http,
    ):
        with pytest.raises(aiohttp.ClientResponseError, match="503"):
            await call(http, "GET", upstream.url)

    assert len(upstream.requests) == 1


@looped
@pytest.mark.parametrize("status", [400, 404, 409, 500, 501, 505, 429, 502, 503, 504])
async def test_only_what_may_pass_is_repeated(status, half):
    """Four statuses mean "try later"; any other answer is the answer."""

    async def script(seen):
        return Answer(status=status)

    async with CountingServer(script) as upstream, aiohttp.ClientSession() as http:
        assert await half.call(http, "GET", upstream.url) == (status, b"ok")

    assert len(upstream.requests) == (3 if status in (429, 502, 503, 504) else 1)


@looped
@pytest.mark.parametrize(
    ("value", "least", "attempts"),
    [
        ("2", 2, 3),
        ("60", None, 1),
        ("9" * 5000, None, 1),
        ("Fri, 27 Nov 2026 10:00:00 GMT", 0, 3),
        ("-1", 0, 3),
        ("\u00b2", 0, 3),
    ],
)
async def test_retry_after_is_waited_for_or_answered(value, least, attempts, half):
    """Seconds are added to the pause; beyond the deadline the answer comes at once."""
    script = busy({"Retry-After": value})
    async with CountingServer(script) as upstream, aiohttp.ClientSession() as http:
        assert await half.call(http, "GET", upstream.url) == (503, b"ok")

    assert len(upstream.requests) == attempts
    assert [pause >= least for pause in half.asyncio.pauses] == [True] * (attempts - 1)


@looped
async def test_a_redirect_is_an_answer(half):
    """Key and body stay with the host they were meant for, and a loop is asked once."""
    async with CountingServer() as elsewhere:

        async def away(seen):
            return redirect(elsewhere.named("localhost"), 307)

        async with CountingServer(away) as upstream, aiohttp.ClientSession() as http:
            headers = KEY | {"X-Api-Key": "secret"}
            options = {"data": b"body", "headers": headers}
            assert await half.call(http, "POST", upstream.url, **options) == (307, b"")

    assert (len(upstream.requests), elsewhere.requests) == (1, [])


@looped
async def test_errors_that_stay_are_raised_at_once(half, tmp_path):
    """An unknown authority or a wrong URL is no better the second time."""
    tls = authority(tmp_path).server()
    async with CountingServer(tls=tls) as upstream, aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await half.call(http, "GET", upstream.url)
        with pytest.raises(aiohttp.InvalidURL):
            await half.call(http, "GET", "not a url")

    assert half.asyncio.pauses == []


@looped
async def test_a_cut_body_is_asked_for_again(half):
    """A connection that closes within the body counts as a lost answer."""

    async def script(seen):
        cut = len(upstream.requests) < 3
        return Answer(headers={"Content-Length": "99", "Connection": "close"} if cut else {})

    async with CountingServer(script) as upstream, aiohttp.ClientSession() as http:
        asked = {"headers": {"Connection": "close"}}  # so that the server closes after its answer
        assert await half.call(http, "GET", upstream.url, **asked) == (200, b"ok")

    assert len(upstream.requests) == 3


@looped
async def test_a_call_cancelled_anywhere_gives_its_connection_back(half):
    """After each cancel the only connection of the pool serves the next request."""

    async def script(seen):
        return Answer(status=503 if seen.path == "/busy" else 200)

    connector = aiohttp.TCPConnector(limit=1)
    async with (
        CountingServer(script) as upstream,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        async for attempt in each_point(lambda: half.call(http, "GET", f"{upstream.url}/busy")):
            assert attempt.cancelled
            assert await half.call(http, "GET", upstream.url) == (200, b"ok")


@looped
async def test_two_deadlines_at_once_end_the_call(half, monkeypatch):
    """Where the session's timeout swallows the cancel of the deadline, no attempt follows."""
    monkeypatch.setattr(half.random, "uniform", lambda low, high: high)
    half.LIMIT = 0.05

    async def silent(seen):
        await asyncio.Event().wait()

    timeout = aiohttp.ClientTimeout(total=half.LIMIT)
    async with CountingServer(silent) as upstream, aiohttp.ClientSession(timeout=timeout) as http:
        for _ in range(20):
            with pytest.raises(TimeoutError):
                await half.call(http, "GET", upstream.url)

    assert len(upstream.requests) <= 20
