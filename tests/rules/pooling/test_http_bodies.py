"""Proofs of the claims in rules/pooling/http.md about bodies that are sent a second time."""

import io
from contextlib import ExitStack

import aiohttp
import pytest
from packaging.version import Version

from tests.harness import confirms, correct
from tests.observers.hasty import Hasty
from tests.servers.http import Answer, CountingServer

PAGE = "pooling/http"
BODY = b"x" * 1000
KEY = {"Idempotency-Key": "one"}
AIOHTTP = Version(aiohttp.__version__)


@pytest.fixture
def half():
    """The half whose `call` is meant, with its pauses noted instead of waited for."""
    half = correct(PAGE, "retry-what-may-run-twice")
    half.asyncio = Hasty()
    return half


async def busy(seen):
    return Answer(status=503)


async def generator():
    for _ in range(4):
        yield BODY[:250]


@pytest.fixture
def opened(tmp_path):
    """Opens the same file as often as asked, and closes what is still open."""
    path = tmp_path / "body"
    path.write_bytes(BODY)
    with ExitStack() as stack:
        yield lambda: stack.enter_context(path.open("rb"))


async def put(http, url, body):
    async with http.put(url, data=body) as response:
        assert response.status == 200


@confirms(PAGE, "streams-are-sent-once")
async def a_generator_sent_again_is_empty():
    """The second attempt carries nothing and succeeds."""
    async with CountingServer() as upstream, aiohttp.ClientSession() as http:
        body = generator()
        await put(http, upstream.url, body)
        await put(http, upstream.url, body)

    assert [seen.body for seen in upstream.requests] == [BODY, b""]


@confirms(PAGE, "streams-are-sent-once")
@pytest.mark.parametrize("kind", ["BytesIO", "file"])
async def a_file_sent_again_is_empty_or_closed(kind, opened):
    """Which of the two depends on aiohttp's version and on when it closes; opened anew it is whole.

    From aiohttp 3.12.15 on, a BytesIO stays open.
    """
    refused = False
    async with CountingServer() as upstream, aiohttp.ClientSession() as http:
        body = io.BytesIO(BODY) if kind == "BytesIO" else opened()
        await put(http, upstream.url, body)
        try:
            await put(http, upstream.url, body)
        except (ValueError, aiohttp.ClientConnectionError) as error:
            refused = "closed file" in str(error)
        assert [seen.body for seen in upstream.requests] in ([BODY, b""], [BODY] if refused else [])
        assert refused is False or kind == "file" or Version("3.12.15") > AIOHTTP

        await put(http, upstream.url, opened())

    assert upstream.requests[-1].body == BODY


@confirms(PAGE, "streams-are-sent-once")
@pytest.mark.parametrize(("method", "headers"), [("PUT", {}), ("POST", KEY)])
@pytest.mark.parametrize("kind", ["generator", "BytesIO", "file", "dict", "form"])
async def call_sends_a_stream_once(method, headers, kind, half, opened):
    """What may be used up is tried once, and the failure is what the caller sees."""
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(BODY), filename="body")
    makers = {
        "generator": generator,
        "BytesIO": lambda: io.BytesIO(BODY),
        "file": opened,
        "dict": lambda: {"file": opened()},
        "form": lambda: form,
    }
    async with CountingServer(busy) as upstream, aiohttp.ClientSession() as http:
        options = {"data": makers[kind](), "headers": headers}
        assert await half.call(http, method, upstream.url, **options) == (503, b"ok")

    assert [len(seen.body) >= len(BODY) for seen in upstream.requests] == [True]


@confirms(PAGE, "streams-are-sent-once")
@pytest.mark.parametrize(
    ("body", "arrives"),
    [
        ({}, b""),
        ({"data": None}, b""),
        ({"data": BODY}, BODY),
        ({"data": "text"}, b"text"),
        ({"json": [1]}, b"[1]"),
    ],
)
async def call_sends_bytes_again(body, arrives, half):
    """Each of three attempts carries the whole body."""
    async with CountingServer(busy) as upstream, aiohttp.ClientSession() as http:
        await half.call(http, "PUT", upstream.url, **body)

    assert [seen.body for seen in upstream.requests] == [arrives] * 3


@confirms(PAGE, "streams-before-aiohttp-3-14-4")
async def a_broken_connection_empties_a_generator():
    """aiohttp repeats the PUT, empty, where it is older than 3.14.4, and raises where it is not."""

    async def script(seen):
        return Answer() if len(upstream.requests) != 2 else None

    async with CountingServer(script) as upstream, aiohttp.ClientSession() as http:
        async with http.get(upstream.url) as response:
            await response.read()
        if Version("3.14.4") <= AIOHTTP:
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await http.put(upstream.url, data=generator())
        else:
            async with http.put(upstream.url, data=generator()) as response:
                assert response.status == 200
            assert upstream.requests.pop().body == b""
        async with http.put(upstream.url, data=BODY) as response:
            assert response.status == 200

    assert [seen.body for seen in upstream.requests] == [b"", BODY, BODY]
