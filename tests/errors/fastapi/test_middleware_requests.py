"""Texts of middleware: CORS, hosts, sessions, errors that no handler sees."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request, status
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.middleware.base import BaseHTTPMiddleware

from tests.errors.fastapi.causes import texts
from tests.errors.fastapi.served import ask, served, speak
from tests.harness.errors import produces
from tests.observers.asgi import running

PREFLIGHT = {
    "origin": "https://shop.example",
    "access-control-request-method": "PUT",
    "access-control-request-headers": "authorization",
}


class Through:
    """An ASGI class that passes everything on."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class Base(BaseHTTPMiddleware):
    """The same, made of Starlette's class."""

    async def dispatch(self, request: Request, call_next: Any) -> Any:
        return await call_next(request)


async def preflight(**options: Any) -> str:
    """What a browser is answered that asks whether it may PUT with a token."""
    app = FastAPI()
    app.add_middleware(CORSMiddleware, **options)
    return await ask(app, "/", "OPTIONS", headers=PREFLIGHT)


@produces("fastapi", "Disallowed CORS origin")
async def an_origin_ends_in_a_slash(cured):
    """Origins are compared letter by letter."""
    origin = "https://shop.example" if cured else "https://shop.example/"
    answer = await preflight(
        allow_origins=[origin], allow_methods=["PUT"], allow_headers=["Authorization"]
    )
    assert not cured or answer == "200 OK"
    return answer


@produces("fastapi", "Disallowed CORS method")
async def a_method_and_a_header_are_not_listed(cured):
    """Of methods GET alone is allowed by default, of headers the harmless ones."""
    more = {"allow_methods": ["PUT"], "allow_headers": ["Authorization"]} if cured else {}
    answer = await preflight(allow_origins=["https://shop.example"], **more)
    assert not cured or answer == "200 OK"
    return answer


@produces("fastapi", "405 Method Not Allowed")
async def a_preflight_reaches_the_routes(cured):
    """Nothing answers OPTIONS."""
    api = FastAPI()

    @api.put("/")
    async def change() -> None: ...

    options = {"allow_methods": ["PUT"], "allow_headers": ["Authorization"]}
    cors = CORSMiddleware(api, allow_origins=["https://shop.example"], **options)
    async with served(cors if cured else api) as port:
        headers = [f"{name}: {value}" for name, value in PREFLIGHT.items()]
        answer = await speak(port, "OPTIONS / HTTP/1.1", *headers)
    assert not cured or answer.startswith("HTTP/1.1 200 OK")
    return answer


@produces("fastapi", "Invalid host header")
async def a_probe_names_an_address(cured):
    """A probe by address has that address as its host."""
    app = FastAPI()
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["api.example"])

    @app.get("/healthz")
    async def healthz() -> None: ...

    host = "api.example" if cured else "10.2.3.4:8000"
    answer = await ask(app, "/healthz", headers={"host": host})
    assert not cured or answer == "200 null"
    return answer


async def an_http_exception_leaves_a_middleware(cured):
    """The handlers for it stand further inside."""
    app = FastAPI()

    class Auth(Through):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] not in ("http", "websocket"):
                return await self.app(scope, receive, send)
            if not cured:
                raise HTTPException(401, "no token")
            answer = JSONResponse({"detail": "no token"}, 401)
            return await answer(scope, receive, send)

    app.add_middleware(Auth)
    assert await ask(app) == '401 {"detail":"no token"}'


async def an_http_exception_leaves_a_dispatch(cured):
    """The same below `@app.middleware("http")`."""
    app = FastAPI()

    @app.middleware("http")
    async def auth(request: Request, call_next: Any) -> Any:
        if not cured:
            raise HTTPException(401, "no token")
        return JSONResponse({"detail": "no token"}, 401)

    assert await ask(app) == '401 {"detail":"no token"}'


@produces("fastapi", "fastapi.exceptions.HTTPException:")
async def an_http_exception_meets_no_handler(cured):
    """The handlers stand inside of every middleware."""
    return await texts(
        cured, an_http_exception_leaves_a_middleware, an_http_exception_leaves_a_dispatch
    )


class Silent(Through):
    """An application that ends without an answer."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


async def a_mounted_application_sends_nothing(cured):
    """A path of it forgets to answer."""
    app = FastAPI()
    app.add_middleware(Base)
    app.mount("/", PlainTextResponse("gone", 410) if cured else Silent(None))
    assert await ask(app) == "410 gone"


async def an_endpoint_awaits_a_cancelled_task(cured):
    """Below a BaseHTTPMiddleware a CancelledError is taken for an end without an answer."""
    app = FastAPI()
    app.add_middleware(Base)

    @app.get("/")
    async def read() -> JSONResponse:
        task = asyncio.create_task(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(task.cancel)
        if cured:
            await asyncio.wait({task})
        if task.cancelled():
            return JSONResponse({"detail": "stopped"}, 503)
        await task
        return JSONResponse({})

    assert await ask(app) == '503 {"detail":"stopped"}'


async def work_is_given_up_when_its_client_leaves(cured):
    """Nobody is there to be answered, and that is an error for BaseHTTPMiddleware alone."""
    app, gone = FastAPI(), asyncio.Event()

    class StopWithClient(Through):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            work = asyncio.create_task(self.app(scope, receive, send))
            while (await receive())["type"] != "http.disconnect":
                pass
            work.cancel()
            await asyncio.wait({work})

    app.add_middleware(StopWithClient)
    app.add_middleware(Through if cured else Base)

    @app.get("/")
    async def slow() -> None:
        gone.set()
        await asyncio.sleep(60)

    assert await ask(app, disconnect=gone) == "0 "


@produces("fastapi", "No response returned.")
async def an_application_below_ends_without_an_answer(cured):
    """BaseHTTPMiddleware waits for a response that nobody sends."""
    return await texts(
        cured,
        a_mounted_application_sends_nothing,
        an_endpoint_awaits_a_cancelled_task,
        work_is_given_up_when_its_client_leaves,
    )


@produces("fastapi", "Cannot add middleware after an application has started")
async def a_middleware_is_added_by_the_lifespan(cured):
    """The stack is built for the first message, which is the lifespan's own."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        if not cured:
            app.add_middleware(Through)
        yield

    app = FastAPI(lifespan=lifespan)
    if cured:
        app.add_middleware(Through)
    async with running(app):
        assert (await ask(app)).startswith("404")


@produces("fastapi", "UNPROCESSABLE_ENTITY' is deprecated")
def a_status_has_its_old_name(cured):
    """RFC 9110 calls it otherwise."""
    name = "HTTP_422_UNPROCESSABLE_CONTENT" if cured else "HTTP_422_UNPROCESSABLE_ENTITY"
    assert getattr(status, name) == 422
