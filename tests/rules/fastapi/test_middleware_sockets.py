"""How the rule on middleware is known: whom auth stops, requests and WebSockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from uvicorn.lifespan.on import LifespanOn

from tests.harness import confirms
from tests.observers.asgi import App, request

ORIGIN = "https://app.example"
Pairs = list[tuple[bytes, bytes]]


async def handshake(app: App, headers: Pairs) -> list[dict[str, Any]]:
    """What the application sends to somebody who asks for a WebSocket."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "websocket",
        "path": "/",
        "headers": headers,
        "query_string": b"",
        "extensions": {"websocket.http.response": {}},  # as uvicorn announces
    }

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert sent
    return sent


async def opened(app: App, headers: Pairs | None = None) -> bool:
    """Whether a WebSocket is accepted; one that is not gets a response."""
    types = [each["type"] for each in await handshake(app, headers or [])]
    assert types[0] in ("websocket.accept", "websocket.http.response.start")
    return types[0] == "websocket.accept"


class Auth:
    """Refuses, with a response, what it guards and what has no key."""

    guarded: tuple[str, ...] = ("http", "websocket")

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in self.guarded:
            return await self.app(scope, receive, send)
        if not self.allows(scope["type"], Headers(scope=scope)):
            return await PlainTextResponse("Log in.", 401)(scope, receive, send)
        return await self.app(scope, receive, send)

    def allows(self, kind: str, headers: Headers) -> bool:
        return "cookie" in headers


class HttpAuth(Auth):
    """The same behind the guard of an access log."""

    guarded = ("http",)


class OriginAuth(Auth):
    """Looks at who asks as well, as CORS does not."""

    def allows(self, kind: str, headers: Headers) -> bool:
        mine = kind != "websocket" or headers.get("origin") == ORIGIN
        return mine and super().allows(kind, headers)


def service(auth: type[Auth]) -> App:
    """A route and a WebSocket behind an auth class, all of it inside CORS."""
    app = FastAPI()
    app.add_middleware(auth)
    app.add_api_route("/", lambda: "private")

    @app.websocket("/")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()

    return CORSMiddleware(app, allow_origins=[ORIGIN], allow_credentials=True)


@confirms("fastapi/middleware", "auth-behind-an-http-guard")
async def a_guard_for_http_alone_lets_every_socket_pass():
    """The request is refused by both classes, the WebSocket by the one that guards it."""
    cookie = [(b"cookie", b"session=1")]

    for kind in (Auth, HttpAuth):
        assert (await request(service(kind))).status == 401
        assert (await request(service(kind), headers={"cookie": "session=1"})).status == 200
        assert await opened(service(kind), cookie)
    assert await opened(service(HttpAuth))
    assert not await opened(service(Auth))
    refusal = await handshake(service(Auth), [])
    assert (refusal[0]["status"], refusal[1]["body"]) == (401, b"Log in.")


@confirms("fastapi/middleware", "auth-behind-an-http-guard")
async def a_request_is_no_socket():
    """What reads headers of both is an HTTPConnection."""
    scope = {"type": "websocket", "headers": [(b"cookie", b"session=1")]}

    with pytest.raises(AssertionError):
        Request(scope)
    assert HTTPConnection(scope).headers["cookie"] == "session=1"


@confirms("fastapi/middleware", "auth-behind-an-http-guard")
@pytest.mark.parametrize("kind", ["guarded", "unguarded"])
async def without_a_guard_uvicorn_serves_without_the_lifespan(kind):
    """The scope of a lifespan has no headers; uvicorn takes the error for "there is none"."""
    began: list[bool] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        began.append(True)
        yield

    class Unguarded(Auth):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            assert dict(scope["headers"]) is not None
            await super().__call__(scope, receive, send)

    app = {"guarded": Auth, "unguarded": Unguarded}[kind](FastAPI(lifespan=lifespan))
    server = LifespanOn(uvicorn.Config(app, lifespan="auto", log_config=None))
    await server.startup()
    await server.shutdown()

    assert (bool(began), server.should_exit) == (kind == "guarded", False)


@confirms("fastapi/middleware", "cross-site-websockets")
async def cors_lets_a_page_of_any_site_open_a_socket_with_cookies():
    """Its list is for requests only; a check of one's own tells the sites apart."""
    cookie = (b"cookie", b"session=1")

    async def may(auth: type[Auth], origin: bytes) -> bool:
        return await opened(service(auth), [cookie, (b"origin", origin)])

    for foreign in (b"https://evil.example", b"null"):
        headers = {"origin": foreign.decode(), "cookie": "session=1"}
        answer = await request(service(Auth), headers=headers)
        assert answer.header("access-control-allow-origin") is None
        assert await may(Auth, foreign)
        assert not await may(OriginAuth, foreign)
    assert await may(OriginAuth, ORIGIN.encode())


@confirms("fastapi/middleware", "auth-behind-an-http-guard")
async def a_dependency_on_the_connection_runs_for_both():
    """One on the request works for requests alone: a WebSocket is a TypeError."""

    async def by_connection(connection: HTTPConnection) -> None:
        if "cookie" not in connection.headers:
            raise HTTPException(401)

    async def by_request(request: Request) -> None:
        await by_connection(request)

    def guarded(dependency: Any) -> FastAPI:
        app = FastAPI()
        needs = Annotated[None, Depends(dependency)]

        @app.get("/")
        async def route(needed: needs) -> None: ...

        @app.websocket("/")
        async def socket(websocket: WebSocket, needed: needs) -> None:
            await websocket.accept()

        return app

    cookie = [(b"cookie", b"session=1")]
    for dependency in (by_connection, by_request):
        assert (await request(guarded(dependency))).status == 401
    assert await opened(guarded(by_connection), cookie)
    assert not await opened(guarded(by_connection))
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'request'"):
        await opened(guarded(by_request), cookie)
