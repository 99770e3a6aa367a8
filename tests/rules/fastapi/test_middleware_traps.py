"""How the rule on middleware is known: its traps, and what differs between versions."""

import asyncio
import traceback
from contextvars import ContextVar
from typing import Annotated, Any, Literal

import starlette
from fastapi import FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware

from tests.harness import confirms, correct
from tests.observers.asgi import App, request
from tests.rules.fastapi.test_middleware_sockets import opened

STARLETTE = tuple(map(int, starlette.__version__.split(".")[:2]))

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


@confirms("fastapi/middleware", "basehttpmiddleware-anywhere")
async def a_base_middleware_lets_websockets_pass_and_loses_context():
    """A pure one in its place refuses the socket and sees what the endpoint set."""
    seen = {}
    for kind in (Base, Pure):
        app = with_key(kind)
        assert (await request(app)).status == 401
        assert (await request(app, headers={"x-key": "k"})).status == 200
        assert await opened(app, [(b"x-key", b"k")])
        seen[kind] = user.get(), await opened(app)
        user.set("nobody")

    assert seen == {Base: ("nobody", True), Pure: ("alice", False)}


@confirms("fastapi/middleware", "httpexception-in-a-middleware")
async def no_handler_of_its_own_hears_an_exception_of_a_middleware():
    """A 500, or its status where Exception has a handler; raised on to the server in any case."""

    class Raises(Pure):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            raise HTTPException(401)

    class RaisesBase(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            raise HTTPException(401)

    class Answers(Pure):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await JSONResponse({"title": "Unauthorized"}, 401)(scope, receive, send)

    async def heard(app: FastAPI, kind: type) -> tuple[int, bool]:
        app.add_middleware(kind)
        answer = await request(app)
        assert answer.error is None or answer.error.status_code == 401
        if kind is RaisesBase:
            text = "".join(traceback.format_exception(answer.error))
            assert ("unhandled errors in a TaskGroup" in text) == (STARLETTE < (1, 3))
        return answer.status, answer.error is not None

    for kind in (Raises, RaisesBase):
        own: dict[Any, Any] = {HTTPException: lambda request, error: PlainTextResponse("", 418)}
        assert await heard(FastAPI(exception_handlers=own), kind) == (500, True)
        handled = correct("fastapi/middleware", "problem-details-without-inputs").app
        assert await heard(handled, kind) == (401, True)
    assert await heard(FastAPI(), Answers) == (401, False)


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


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


def forms(app: FastAPI) -> FastAPI:
    """Endpoints that validate what they are sent."""

    @app.post("/strict")
    async def strict(body: Strict) -> None: ...

    @app.post("/counts")
    async def counts(body: dict[str, int]) -> None: ...

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


def test_a_status_without_a_body_is_answered_without_one() -> None:
    """With the headers that were raised, such as the ETag of a 304."""
    app = correct("fastapi/middleware", "problem-details-without-inputs").app

    @app.get("/{status}")
    async def route(status: int) -> None:
        raise HTTPException(status, headers={"ETag": '"7"'})

    found = [asyncio.run(request(app, f"/{each}")) for each in (204, 205, 304, 410)]

    assert [bool(each.body) for each in found] == [False, False, False, True]
    assert {each.header("etag") for each in found} == {'"7"'}


@confirms("fastapi/middleware", "inputs-in-errors")
async def a_message_may_quote_what_was_sent():
    """Validators, union tags and keys do; what pydantic says of a short string does not."""
    app = forms(correct("fastapi/middleware", "problem-details-without-inputs").app)

    validator = await request(app, "/login", "POST", body={"password": "hunter2"})
    tag = await request(app, "/pet", "POST", body={"kind": "hunter2"})
    length = await request(app, "/login", "POST", body={"password": "hunter3"})

    keys = [
        await request(app, "/strict", "POST", body={"hunter2": 1}),
        await request(app, "/counts", "POST", body={"hunter2": "one"}),
    ]

    assert {each.status for each in (validator, tag, length, *keys)} == {422}
    assert [each.json()["errors"][0]["loc"] for each in keys] == 2 * [["body", "hunter2"]]
    assert b"hunter2" in validator.body
    assert b"hunter2" in tag.body
    assert b"hunter3" not in length.body


@confirms("fastapi/middleware", "inputs-in-errors")
async def a_mounted_app_repeats_inputs_until_it_has_the_handlers():
    """Those of the parent do not reach it, neither for a 422 nor for a 404 of its own."""
    module = correct("fastapi/middleware", "problem-details-without-inputs")
    bare, given = forms(FastAPI()), forms(FastAPI(exception_handlers=module.app.exception_handlers))
    module.app.mount("/bare", bare)
    module.app.mount("/given", given)

    async def answers(path: str) -> list[tuple[int, str | None, bool]]:
        asked = [("POST", "login", {"password": "hunter3"}), ("GET", "nothing", b"")]
        found = [
            await request(module.app, f"{path}/{name}", how, body=body) for how, name, body in asked
        ]
        return [
            (each.status, each.header("content-type"), b"hunter3" in each.body) for each in found
        ]

    problem = "application/problem+json"
    assert await answers("/bare") == [
        (422, "application/json", True),
        (404, "application/json", False),
    ]
    assert await answers("/given") == [(422, problem, False), (404, problem, False)]
