"""How the rule on middleware is known: its pairs and its symptoms."""

import asyncio
import json
import logging
from types import SimpleNamespace
from typing import Any

from fastapi import APIRouter, BackgroundTasks, FastAPI, HTTPException
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel, Field

from tests.harness import proves
from tests.observers.asgi import Message, request

ORIGIN = "https://app.example"
PROBLEM = "application/problem+json"


class Login(BaseModel):
    """What a client sends that no response may repeat."""

    password: str = Field(min_length=12)


class NeedsKey:
    """An authentication middleware as the rule asks for: for sockets too, refused by a response."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket") or b"x-key" in dict(scope["headers"]):
            await self.app(scope, receive, send)
        else:
            await PlainTextResponse("no key", 401)(scope, receive, send)


def shown(*signs: bool) -> bool:
    """One verdict of several signs, which have to agree: all of them show, or none."""
    assert len(set(signs)) == 1, f"the signs disagree: {signs}"
    return signs[0]


def lines(caplog: Any) -> list[dict[str, Any]]:
    """Take what the access log has written so far."""
    taken = [json.loads(each.getMessage()) for each in caplog.records if each.name == "access"]
    caplog.clear()
    return taken


def timed_app(clock: SimpleNamespace) -> FastAPI:
    """An item in a router with a prefix, a stream of three seconds, and a crash."""
    app, router = FastAPI(), APIRouter(prefix="/items")

    @router.get("/{item_id}")
    async def item(item_id: int) -> int:
        return item_id

    @app.get("/stream")
    async def stream(tasks: BackgroundTasks) -> StreamingResponse:
        async def chunks():
            yield "a"
            clock.now += 3
            yield "b"

        async def after() -> None:
            clock.now += 7

        tasks.add_task(after)
        return StreamingResponse(chunks(), background=tasks)

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def chunks():
            yield "a"
            await asyncio.Event().wait()

        return StreamingResponse(chunks())

    @app.get("/broken")
    async def broken() -> StreamingResponse:
        async def chunks():
            yield "a"
            raise RuntimeError("half way")

        return StreamingResponse(chunks())

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError("postgresql://app:hunter2@db")

    app.include_router(router, prefix="/v1")
    return app


@proves("fastapi/middleware", "one-access-line-per-request")
async def the_access_log_misses_what_the_client_sees(half, caplog):
    """A crash has no line, a stream that broke is a success, each id is a route."""
    caplog.set_level(logging.INFO, "access")
    clock = SimpleNamespace(now=100.0)
    clock.perf_counter = lambda: clock.now
    half.time = clock
    app = timed_app(clock)
    app.add_middleware(half.AccessLog)

    answer = await request(app, "/v1/items/7")
    assert (answer.status, answer.json()) == (200, 7)
    (item,) = lines(caplog)
    assert (item["status"], item["duration_ms"]) == (200, 0)

    streamed = await request(app, "/stream")
    assert (streamed.body, streamed.complete, clock.now) == (b"ab", True, 110)
    (stream,) = lines(caplog)

    gone = asyncio.Event()

    def hang_up(message: Message) -> None:
        if message.get("body"):
            gone.set()

    cut = await request(app, "/endless", disconnect=gone, on_send=hang_up)
    assert cut.body == b"a"
    (left,) = lines(caplog)

    torn = await request(app, "/broken")
    assert (torn.status, torn.body) == (200, b"a")
    (broken,) = lines(caplog)

    crashed = await request(app, "/crash")
    assert crashed.status == 500
    lines_of_a_crash = len(lines(caplog))

    return shown(
        item["route"] != "/v1/items/{item_id}",
        stream["duration_ms"] != 3000,
        left.get("complete") is not False,
        "half way" not in broken.get("error", ""),
        lines_of_a_crash != 1,
    )


@proves("fastapi/middleware", "cors-around-everything")
async def the_browser_may_not_read_the_errors(half):
    """Preflight, 401 and 500 come without the header that lets a browser read them."""
    api = FastAPI()
    api.add_api_route("/", lambda: "fine")
    api.add_api_route("/crash", lambda: 1 / 0)
    app = half.create_app(api, NeedsKey, [ORIGIN])
    key, origin = {"x-key": "k"}, {"origin": ORIGIN}
    asks = origin | {"access-control-request-method": "GET"}

    fine = await request(app, "/", headers=key | origin)
    assert (fine.status, fine.json()) == (200, "fine")
    assert fine.header("access-control-allow-origin") == ORIGIN
    preflight = await request(app, "/", "OPTIONS", headers=asks)
    refused = await request(app, "/", headers=origin)
    crashed = await request(app, "/crash", headers=key | origin)
    assert (refused.status, crashed.status) == (401, 500)
    allows = [each.header("access-control-allow-origin") for each in (refused, crashed)]

    return shown(preflight.status != 200, *(each is None for each in allows))


@proves("fastapi/middleware", "problem-details-without-inputs")
async def errors_echo_inputs_and_lose_their_form(half):
    """A 422 repeats the password, a 401 loses its header, the router's own errors their form."""
    app = half.app

    @app.post("/login")
    async def login(body: Login) -> str:
        return "in"

    @app.get("/gone")
    async def gone() -> None:
        raise HTTPException(410, "It was sold.")

    @app.get("/private")
    async def private() -> None:
        raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError("postgresql://app:hunter2@db")

    @app.get("/unchanged")
    async def unchanged() -> None:
        raise HTTPException(304, headers={"ETag": '"7"'})

    fine = await request(app, "/login", "POST", body={"password": "long and secret"})
    assert (fine.status, fine.json()) == (200, "in")
    sold = await request(app, "/gone")
    assert (sold.status, sold.header("content-type")) == (410, PROBLEM)
    assert sold.json()["status"] == 410
    assert "It was sold." in sold.json()["detail"]

    invalid = await request(app, "/login", "POST", body={"password": "hunter2"})
    refused = await request(app, "/private")
    unknown = await request(app, "/unknown")
    wrong = await request(app, "/private", "DELETE")
    crashed = await request(app, "/crash")
    found = [each.status for each in (invalid, refused, unknown, wrong, crashed)]
    assert found == [422, 401, 404, 405, 500]
    assert b"hunter2" not in crashed.body
    same = await request(app, "/unchanged")
    assert same.status == 304

    return shown(
        b"hunter2" in invalid.body,
        refused.header("www-authenticate") is None,
        *(each.header("content-type") != PROBLEM for each in (unknown, wrong, crashed)),
        (wrong.header("allow"), wrong.json().get("title")) != ("GET", "Method Not Allowed"),
        (same.body, same.header("etag")) != (b"", '"7"'),
        [set(each) for each in invalid.json().get("errors", ())] != [{"loc", "msg"}],
    )
