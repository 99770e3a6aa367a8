"""How the rule on middleware is known: its halves together, and each line they write."""

import asyncio
import json
import logging
import re
import uuid
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import fastapi
import pytest
from fastapi import APIRouter, BackgroundTasks, FastAPI, Response, WebSocket
from fastapi.responses import StreamingResponse
from starlette.datastructures import Headers, MutableHeaders

from tests.harness import confirms, correct
from tests.observers.asgi import App, Exchange, request
from tests.observers.waiting import reached
from tests.rules.fastapi.test_middleware_sockets import Auth, opened
from tests.servers.http import CountingServer

ORIGIN = "https://app.example"
COOKIE = {"cookie": "session=1"}

request_id: ContextVar[str] = ContextVar("request_id", default="-")


class RequestId:
    """What the trap describes, word for word."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        rid = Headers(scope=scope).get("x-request-id", "")
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", rid):
            rid = uuid.uuid4().hex

        async def named(message: Any) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", [])
                MutableHeaders(scope=message)["x-request-id"] = rid
            await send(message)

        token = request_id.set(rid)
        try:
            await self.app(scope, receive, named)
        finally:
            request_id.reset(token)


class AddId(logging.Filter):
    """Copies the id to the record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


def assembled(api: FastAPI) -> App:
    """The halves in the order of the rule: id, access log, CORS, the FastAPI app."""
    wrap = correct("fastapi/middleware", "cors-around-everything").create_app
    log = correct("fastapi/middleware", "one-access-line-per-request").AccessLog
    return RequestId(log(wrap(api, Auth, [ORIGIN])))


def service() -> FastAPI:
    """What goes well, crashes, crashes late, answers without headers, has an id of its own."""
    module = correct("fastapi/middleware", "problem-details-without-inputs")
    api = FastAPI(exception_handlers=module.app.exception_handlers)
    api.add_api_route("/", lambda: "fine")
    api.add_api_route("/crash", lambda: 1 / 0)
    api.add_api_route("/own", lambda: Response(headers={"X-Request-ID": "upstream"}))

    @api.get("/late")
    async def late(tasks: BackgroundTasks) -> None:
        tasks.add_task(lambda: 1 / 0)

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 202})
        await send({"type": "http.response.body", "body": b"bare"})

    api.mount("/bare", bare)
    return api


class Written(logging.Handler):
    """Keeps the records, with the id that its filter gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.addFilter(AddId())

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """The records of all loggers from INFO up."""
    caplog.set_level(logging.INFO)
    handler = Written()
    logging.getLogger().addHandler(handler)
    yield handler.records
    logging.getLogger().removeHandler(handler)


def line(written: list[logging.LogRecord]) -> dict[str, Any]:
    """The access line of the only request so far; takes it off the list."""
    (found,) = [each for each in written if each.name == "access"]
    written.clear()
    return json.loads(found.getMessage()) | {"id": found.request_id}


async def ask(app: App, path: str, **headers: str) -> Exchange:
    return await request(app, path, headers=COOKIE | headers)


@confirms("fastapi/middleware", "no-id-in-log-lines")
async def every_answer_of_the_assembled_service_has_its_line_and_its_id(written):
    """A crash, an error after the answer, a 401, a preflight, one without headers as well."""
    app = assembled(service())
    asks = {"origin": ORIGIN, "access-control-request-method": "POST"}
    found = []
    for path in ("/", "/crash", "/late", "/bare/"):
        answer = await ask(app, path, origin=ORIGIN)
        assert answer.header("access-control-allow-origin") == ORIGIN
        found.append((path, answer, line(written)))
    found.append(("no key", await request(app, "/"), line(written)))
    preflight = await request(app, "/", "OPTIONS", headers=asks)
    found.append(("preflight", preflight, line(written)))

    seen = {path: (each["status"], each["complete"]) for path, _, each in found}
    errors = {path for path, _, each in found if "ZeroDivisionError" in each.get("error", "")}
    assert seen == {
        "/": (200, True),
        "/crash": (500, True),
        "/late": (200, True),
        "/bare/": (202, True),
        "no key": (401, True),
        "preflight": (200, True),
    }
    assert errors == {"/crash", "/late"}
    for _, answer, each in found:
        assert answer.status == each["status"]
        assert answer.header("x-request-id") == each["id"]
        assert each["duration_ms"] >= 0


@confirms("fastapi/middleware", "no-id-in-log-lines")
async def a_request_id_is_taken_over_only_when_it_is_short_and_plain(written):
    """Anything else is replaced, in the response and in the line; an app's own is not doubled."""
    app = assembled(service())
    plain = ["0123456789abcdef", "9d1f3c6e-5d2b-4a7e-8f00-0c2b6a1d4e5f", "req_01J.7", "x" * 64]
    hostile = ["", "x" * 65, "x" * 8000, 'a","status":200', "a b", "a\tb", "{}", "a\n", "ä"]

    found = []
    for each in plain + hostile:
        answer = await ask(app, "/own", **{"x-request-id": each})
        ids = [value for name, value in answer.headers if name == "x-request-id"]
        assert ids == [line(written)["id"]]
        found += ids

    assert found[:4] == plain
    assert not set(found) & set(hostile)
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in found[4:])
    assert len(set(found)) == len(found)


@confirms("fastapi/middleware", "no-id-in-log-lines")
async def lines_of_endpoints_threads_tasks_and_sockets_carry_the_id(written):
    """As does what goes out; afterwards the context is as it was, and a logger's filter is deaf."""
    api, deaf = service(), AddId()
    child = logging.getLogger("service.orders")
    sent: list[str] = []
    deaf.filter = lambda record: sent.append(record.name) or True
    child.parent.addFilter(deaf)

    @api.get("/thread")
    def thread(tasks: BackgroundTasks) -> None:
        child.info("in a thread")
        tasks.add_task(child.info, "in the background")

    @api.get("/task/{port}")
    async def task(port: int) -> None:
        async def inner() -> None:
            child.info("in a task")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET / HTTP/1.1\r\nX-Request-ID: {request_id.get()}\r\n\r\n".encode())
            await reader.readuntil(b"ok")
            writer.close()

        await asyncio.create_task(inner())

    @api.websocket("/")
    async def socket(websocket: WebSocket) -> None:
        child.info("in a socket")
        await websocket.accept()

    app = assembled(api)
    async with CountingServer() as other:
        await ask(app, "/thread", **{"x-request-id": "one"})
        await ask(app, f"/task/{other.port}", **{"x-request-id": "two"})
        assert await opened(app, [(b"cookie", b"s"), (b"x-request-id", b"three")])
        (outgoing,) = other.requests
    child.parent.removeFilter(deaf)

    ids = {each.getMessage(): each.request_id for each in written if each.name == child.name}
    assert ids == {
        "in a thread": "one",
        "in the background": "one",
        "in a task": "two",
        "in a socket": "three",
    }
    assert outgoing.headers["x-request-id"] == "two"
    assert (request_id.get(), sent) == ("-", [])


@confirms("fastapi/middleware", "no-id-in-log-lines")
async def a_request_cancelled_by_shutdown_has_a_line_that_says_so(written):
    """Neither complete nor without a reason."""
    api, began = FastAPI(), asyncio.Event()

    @api.get("/")
    async def slow() -> StreamingResponse:
        async def chunks():
            yield "a"
            began.set()
            await asyncio.Event().wait()

        return StreamingResponse(chunks())

    task = asyncio.create_task(ask(assembled(api), "/"))
    await reached(began, task)
    task.cancel()
    await asyncio.wait({task})

    found = line(written)
    assert (found["status"], found["complete"], task.cancelled()) == (200, False, True)
    assert "CancelledError" in found["error"]


@confirms("fastapi/middleware", "route-prefixes")
async def a_route_lost_the_prefix_of_its_router(written):
    """What the scope calls the route depends on the version, what the rule logs does not."""
    router = APIRouter(prefix="/items")
    router.add_api_route("/{item_id}", lambda item_id: item_id)
    api, mounted = service(), FastAPI()
    api.mount("/mount", mounted)
    for each, prefix in ((api, "/v1"), (api, "/v2"), (mounted, "")):
        each.include_router(router, prefix=prefix)
    app, scopes = assembled(api), []

    async def recorded(scope: Any, receive: Any, send: Any) -> None:
        scope |= {"root_path": "/proxy", "path": f"/proxy{scope['path']}"}
        scopes.append(scope)
        await app(scope, receive, send)

    logged = []
    for path in ("/v1/items/7", "/v2/items/7", "/mount/items/7", "/bare/7", "/nothing"):
        await ask(recorded, path)
        logged.append(line(written)["route"])

    item = "/items/{item_id}"
    assert logged == [f"/v1{item}", f"/v2{item}", f"/mount{item}", "/bare", ""]
    lost = tuple(map(int, fastapi.__version__.split(".")[:2])) >= (0, 137)
    named = [each["route"].path for each in scopes[:2]]
    assert named == ([item, item] if lost else [f"/v1{item}", f"/v2{item}"])
