"""How the rule on middleware is known: its traps, and what differs between versions."""

import json
import logging
from contextvars import ContextVar
from typing import Annotated, Any, Literal

import fastapi
from fastapi import APIRouter, FastAPI, HTTPException, Request, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field, field_validator
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware

from tests.harness import confirms, correct
from tests.observers.asgi import App, request

ORIGIN = "https://app.example"

user: ContextVar[str] = ContextVar("user", default="nobody")


def with_key(*middleware: type) -> FastAPI:
    """A route, and a socket, that set a ContextVar."""
    app = FastAPI(middleware=[Middleware(each) for each in middleware])

    @app.get("/")
    async def route() -> None:
        user.set("alice")

    @app.websocket("/")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()

    return app


class Base(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        allowed = "x-key" in request.headers
        return await call_next(request) if allowed else PlainTextResponse("no key", 401)


class Pure:
    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan" and b"x-key" not in dict(scope["headers"]):
            return await PlainTextResponse("no key", 401)(scope, receive, send)
        return await self.app(scope, receive, send)


async def opened(app: App) -> bool:
    """Whether a WebSocket without a key is accepted."""
    received: list[str] = []
    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        received.append(message["type"])

    await app(scope | {"extensions": {"websocket.http.response": {}}}, receive, send)
    assert received
    return "websocket.accept" in received


@confirms("fastapi/middleware", "basehttpmiddleware-anywhere")
async def a_base_middleware_lets_websockets_pass_and_loses_context():
    """A pure one in its place refuses the socket and sees what the endpoint set."""
    seen = {}
    for kind in (Base, Pure):
        app = with_key(kind)
        assert (await request(app)).status == 401
        assert (await request(app, headers={"x-key": "k"})).status == 200
        seen[kind] = user.get(), await opened(app)
        user.set("nobody")

    assert seen == {Base: ("nobody", True), Pure: ("alice", False)}


@confirms("fastapi/middleware", "httpexception-in-a-middleware")
async def no_handler_hears_an_exception_of_a_middleware():
    """What a dependency may raise becomes a 500 one layer further out."""

    class Raises(Pure):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            raise HTTPException(403)

    class Answers(Pure):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await JSONResponse({"title": "Forbidden"}, 403)(scope, receive, send)

    raised = await request(FastAPI(middleware=[Middleware(Raises)]))
    answered = await request(FastAPI(middleware=[Middleware(Answers)]))

    assert (raised.status, answered.status) == (500, 403)


def readable(**options: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(CORSMiddleware, allow_credentials=True, **options)
    app.add_api_route("/", lambda: "private")
    return app


@confirms("fastapi/middleware", "wildcard-origin-with-credentials")
async def a_wildcard_with_credentials_lets_any_site_read():
    """So does a dot in a pattern; and a POST fails until its method is listed."""

    async def reads(app: FastAPI, origin: str) -> bool:
        answer = await request(app, headers={"origin": origin, "cookie": "session=1"})
        allowed = answer.header("access-control-allow-credentials") == "true"
        return allowed and answer.header("access-control-allow-origin") == origin

    async def may_post(app: FastAPI) -> bool:
        asks = {"origin": ORIGIN, "access-control-request-method": "POST"}
        return (await request(app, "/", "OPTIONS", headers=asks)).status == 200

    listed = readable(allow_origins=[ORIGIN])
    assert await reads(readable(allow_origins=["*"]), "https://evil.example")
    assert not await reads(listed, "https://evil.example")
    assert await reads(listed, ORIGIN)

    loose, exact = r"https://.*app.example", r"https://app\.example"
    assert await reads(readable(allow_origin_regex=loose), "https://app-example")
    assert not await reads(readable(allow_origin_regex=exact), "https://app-example")

    assert not await may_post(listed)
    assert await may_post(readable(allow_origins=[ORIGIN], allow_methods=["POST"]))


def assembled(caplog: Any) -> FastAPI:
    """The stack in the order of the rule: CORS, the access log, the application's own 500."""
    caplog.set_level(logging.INFO, "access")
    access_log = correct("fastapi/middleware", "one-access-line-per-request").AccessLog
    module = correct("fastapi/middleware", "problem-details-without-inputs")

    class Service(FastAPI):
        def build_middleware_stack(self) -> Any:
            app = access_log(super().build_middleware_stack())
            return CORSMiddleware(app, allow_origins=[ORIGIN])

    app = Service(exception_handlers=module.app.exception_handlers)
    app.add_api_route("/crash", lambda: 1 / 0)
    return app


def logged(caplog: Any) -> list[dict[str, Any]]:
    """What the access log has written."""
    return [json.loads(each.getMessage()) for each in caplog.records if each.name == "access"]


@confirms("fastapi/middleware", "client-text-in-logs")
async def a_request_id_is_taken_over_only_when_it_is_short_and_plain(caplog):
    """Anything else is replaced, in the response and in the line."""
    app = assembled(caplog)
    plain = ["0123456789abcdef", "9d1f3c6e-5d2b-4a7e-8f00-0c2b6a1d4e5f"]
    hostile = ["", "x" * 65, "x" * 8000, 'a","status":200', "a b", "a\tb", "{}", "-", "a\n"]

    found = []
    for each in plain + hostile:
        answer = await request(app, "/crash", headers={"x-request-id": each})
        line = logged(caplog)[-1]
        given = answer.header("x-request-id")
        assert line["request_id"] == given
        found.append(given)

    assert found[:2] == plain
    assert not set(found) & set(hostile)
    assert all(len(each) == 32 and each.isalnum() for each in found[2:])
    assert len(set(found)) == len(found)


@confirms("fastapi/middleware", "client-text-in-logs")
async def the_500_of_a_crash_has_id_line_and_cors(caplog):
    """In the order that the rule gives, a crash looks like every other answer."""
    answer = await request(assembled(caplog), "/crash", headers={"origin": ORIGIN})
    (line,) = logged(caplog)

    assert answer.json() == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
    }
    assert answer.header("access-control-allow-origin") == ORIGIN
    assert line == {
        "request_id": answer.header("x-request-id"),
        "method": "GET",
        "status": 500,
        "duration_ms": line["duration_ms"],
        "route": "/crash",
    }


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Login(BaseModel):
    password: str = Field(min_length=12)

    @field_validator("password", mode="before")
    @classmethod
    def known(cls, value: object) -> object:
        if value == "hunter2":
            raise ValueError(f"{value} is known to everybody")
        return value


def forms(app: FastAPI) -> FastAPI:
    """Endpoints that validate what they are sent."""

    @app.post("/login")
    async def login(body: Login) -> None: ...

    @app.post("/pet")
    async def pet(body: Annotated[Cat | Dog, Field(discriminator="kind")]) -> None: ...

    return app


@confirms("fastapi/middleware", "inputs-in-errors")
async def not_a_number_breaks_the_default_422_and_not_the_rules():
    """As does a lone surrogate, which JSON can spell and UTF-8 cannot."""
    default = forms(FastAPI())
    handled = forms(correct("fastapi/middleware", "problem-details-without-inputs").app)
    bodies = [b'{"password": NaN}', rb'{"password": "\ud800"}', b'{"password": 1e999}']

    async def statuses(app: FastAPI) -> list[int]:
        sent = {"content-type": "application/json"}
        return [(await request(app, "/login", "POST", sent, each)).status for each in bodies]

    assert await statuses(default) == [500, 500, 500]
    assert await statuses(handled) == [422, 422, 422]
    plain = await request(default, "/login", "POST", body={"password": "hunter3"})
    assert (plain.status, b"hunter3" in plain.body) == (422, True)


@confirms("fastapi/middleware", "inputs-in-errors")
async def a_message_may_quote_what_was_sent():
    """Validators and union tags do; what pydantic says of a short string does not."""
    app = forms(correct("fastapi/middleware", "problem-details-without-inputs").app)

    validator = await request(app, "/login", "POST", body={"password": "hunter2"})
    tag = await request(app, "/pet", "POST", body={"kind": "hunter2"})
    length = await request(app, "/login", "POST", body={"password": "hunter3"})

    assert {validator.status, tag.status, length.status} == {422}
    assert b"hunter2" in validator.body
    assert b"hunter2" in tag.body
    assert b"hunter3" not in length.body


@confirms("fastapi/middleware", "trustedhost-refuses-probes")
async def a_probe_by_address_is_refused_until_it_names_the_host():
    """The header decides, whatever path is asked for."""
    app = FastAPI()
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["api.example"])
    app.add_api_route("/healthz", lambda: "up")

    by_address = await request(app, "/healthz", headers={"host": "10.2.3.4:8000"})
    by_name = await request(app, "/healthz", headers={"host": "api.example"})

    assert (by_address.status, by_name.status) == (400, 200)


@confirms("fastapi/middleware", "route-prefixes")
async def a_route_lost_the_prefix_of_its_router(caplog):
    """What the scope calls the route depends on the version, what the rule logs does not."""
    router = APIRouter(prefix="/items")
    router.add_api_route("/{item_id}", lambda item_id: item_id)
    app, mounted = assembled(caplog), FastAPI()
    app.mount("/mount", mounted)
    for each, prefix in ((app, "/v1"), (app, "/v2"), (mounted, "")):
        each.include_router(router, prefix=prefix)
    scopes: list[Any] = []

    async def recorded(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await app(scope, receive, send)

    for path in ("/v1/items/7", "/v2/items/7", "/mount/items/7"):
        assert (await request(recorded, path)).status == 200

    item, root = "/items/{item_id}", [each["root_path"] for each in scopes]
    assert [each["route"] for each in logged(caplog)] == [f"/v1{item}", f"/v2{item}", item]
    assert root == ["", "", "/mount"]
    lost = tuple(map(int, fastapi.__version__.split(".")[:2])) >= (0, 137)
    named = [each["route"].path for each in scopes[:2]]
    assert named == ([item, item] if lost else [f"/v1{item}", f"/v2{item}"])
