"""The requests of the probes: what their client sends, reads and leaves."""

import asyncio

import pytest
from fastapi import FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import StreamingResponse
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from tests.harness.probing import Limits, found, judged, probed, read_request, told
from tests.probes.shop import LIST, READ, nothing, shop

FEW = Limits(points=2)


def test_a_websocket_is_opened_spoken_to_and_left() -> None:
    """The text is sent, and the client goes once it has read for a while."""
    app, heard = FastAPI(), []

    @app.websocket("/chat")
    async def chat(socket: WebSocket) -> None:
        await socket.accept()
        heard.append(await socket.receive_text())
        await socket.send_text("hello")
        heard.append((await socket.receive())["type"])

    limits = Limits(patience=0.05)
    verdicts = probed(app, "WS /chat hello", wanted="loop checkouts", limits=limits)

    assert (heard[:2], found(verdicts)) == (["hello", "websocket.disconnect"], set())


def test_a_session_kept_on_a_websocket_is_found(sqlite) -> None:
    """It is out between two messages, for as long as the client stays."""
    app = shop(sqlite.url)

    @app.websocket("/chat")
    async def chat(socket: WebSocket) -> None:
        await socket.accept()
        async with socket.state.sessions() as session:
            for sku in await session.scalars(READ):
                await socket.send_text(sku)
            await socket.receive()

    verdicts = probed(app, "WS /chat", wanted="checkouts", limits=Limits(patience=0.05))

    assert found(verdicts) == {"checkouts"}


def test_a_stream_without_an_end_is_left() -> None:
    """The client reads for a while, then goes; the request has to end."""
    app, ended = FastAPI(), []

    @app.get("/events")
    async def events() -> StreamingResponse:
        async def lines():
            try:
                while True:
                    yield "tick\n"
                    await asyncio.sleep(0.01)
            finally:
                ended.append(1)

        return StreamingResponse(lines())

    verdicts = probed(app, "GET /events", wanted="loop", limits=Limits(patience=0.05))

    assert (len(ended), judged(verdicts, "loop")) == (4, {"ok"})


@pytest.mark.parametrize(
    ("status", "give"),
    [
        (401, "--header"),
        (404, "is there such a path? what it asks for is made in --setup"),
        (409, "{{uuid}}"),
        (422, "METHOD PATH BODY"),
        (500, "ZeroDivisionError"),
    ],
)
def test_a_request_that_the_application_refuses_cannot_be_told_of(status, give) -> None:
    """The status, the body and what to give are said, and none of the probes speaks."""
    app = FastAPI()

    @app.get("/stock")
    async def stock() -> None:
        if status == 500:
            raise ZeroDivisionError("a detail")
        raise HTTPException(status, "so it is")

    verdicts = probed(app, LIST, wanted="commit loop")

    assert [(each.probe, f"answered {status}" in each.says) for each in verdicts] == [
        ("request", True)
    ]
    assert give in verdicts[0].says


def test_the_host_is_one_that_is_trusted() -> None:
    """TrustedHostMiddleware lets localhost in, which every developer's list has."""
    app = FastAPI()
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost"])
    app.get("/stock")(nothing)

    assert judged(probed(app, LIST, wanted="loop"), "loop") == {"ok"}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('POST / {"a": 1}', "application/json"),
        ("POST / [1]", "application/json"),
        ("POST / a=1", "application/x-www-form-urlencoded"),
        ("POST /", ""),
    ],
)
def test_the_body_tells_its_content_type(text, kind) -> None:
    """JSON and forms are told apart by the first character."""
    assert read_request(text, {}).kind == kind


def test_suspensions_of_children_count() -> None:
    """Below a BaseHTTPMiddleware the handler waits in a task of its own."""
    counted = []
    for middleware in (False, True):
        app = FastAPI()

        @app.get("/stock")
        async def stock() -> None:
            for _ in range(20):
                await asyncio.sleep(0)

        if middleware:

            async def passing(request, call_next):
                return await call_next(request)

            app.add_middleware(BaseHTTPMiddleware, dispatch=passing)
        said = told(probed(app, LIST, wanted="cancel", limits=FEW), "cancel")
        counted.append(int(said.partition(" awaits")[0].rpartition(" ")[2]))

    assert min(counted) > 20


def test_a_slow_client_is_a_place_to_be_cut() -> None:
    """`receive` and `send` wait, though nothing in the application does."""
    app = FastAPI()

    @app.post("/stock")
    async def stock(body: dict[str, int]) -> None: ...

    said = told(probed(app, 'POST /stock {"a": 1}', wanted="cancel"), "cancel")

    assert " 3 awaits" in said  # its body, and the two messages of the answer


def test_the_setup_gives_values_and_headers_and_may_wait(sqlite) -> None:
    """It is called after the startup, with the application and its state."""
    app, seen = shop(sqlite.url), []

    @app.get("/items/{sku}")
    async def item(sku: str, request: Request) -> None:
        seen.append((sku, request.headers["authorization"]))

    async def setup(app, state):
        async with state["sessions"]() as session:
            skus = list(await session.scalars(READ))
        return {"first": skus[0], "headers": {"Authorization": "Bearer x"}}

    probed(app, "GET /items/{{first}}", wanted="loop", setup=setup)

    assert set(seen) == {("a", "Bearer x")}


def test_a_request_that_works_but_once_is_said_to() -> None:
    """What a DELETE took away is not there for the next one."""
    app, rows = shop(), [1]

    @app.delete("/stock/1")
    async def remove() -> None:
        if not rows:
            raise HTTPException(404)
        rows.clear()

    verdicts = probed(app, "DELETE /stock/1", wanted="commit")

    assert "after 1 that went well: it cannot be repeated" in told(verdicts, "request")
