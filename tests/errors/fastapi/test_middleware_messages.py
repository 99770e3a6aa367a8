"""Texts of uvicorn about what applications send: too much, too little, too late, nothing."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from h11 import LocalProtocolError

from tests.errors.fastapi.served import served, speak
from tests.harness.errors import produces

START = {"type": "http.response.start", "status": 200, "headers": []}
END = {"type": "http.response.body", "body": b"", "more_body": False}


class Wrap:
    """An ASGI class around another application."""

    def __init__(self, app: Any) -> None:
        self.app = app


async def answered(app: Any, **options: Any) -> str:
    """What a client reads from this application."""
    async with served(app, **options) as port:
        return await speak(port)


@produces("fastapi", "Exception in ASGI application")
async def an_endpoint_fails(cured):
    """Whatever leaves the application is logged under this line."""
    app = FastAPI()

    async def absent(request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": "not found"}, 404)

    if cured:
        app.add_exception_handler(LookupError, absent)

    @app.get("/")
    async def read() -> None:
        raise LookupError("no such row")

    answer = await answered(app)
    assert answer.startswith(f"HTTP/1.1 {404 if cured else 500}")


@produces("fastapi", "ASGI 'lifespan' protocol appears unsupported")
async def a_middleware_reads_headers_of_the_lifespan(cured):
    """The lifespan's scope has none."""
    app = FastAPI()

    class Log(Wrap):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if cured and scope["type"] not in ("http", "websocket"):
                return await self.app(scope, receive, send)
            dict(scope["headers"])
            return await self.app(scope, receive, send)

    app.add_middleware(Log)
    assert (await answered(app)).startswith("HTTP/1.1 404")


@produces("fastapi", "but got 'http.response.start'")
async def an_error_is_answered_after_the_start(cured):
    """Half of the answer is gone when the error comes."""

    class Problems(Wrap):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            started = False

            async def note(message: Any) -> None:
                nonlocal started
                started = started or message["type"] == "http.response.start"
                await send(message)

            try:
                await self.app(scope, receive, note)
            except LookupError:
                if cured and started:
                    raise
                await JSONResponse({}, 500)(scope, receive, send)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        raise LookupError("no such row")

    async with served(Problems(app), lifespan="off") as port:
        assert "{}" not in await speak(port)


@produces("fastapi", "sent, after response already completed.")
async def an_application_goes_on_after_its_answer(cured):
    """A `return` is missing."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if "authorization" not in dict(scope["headers"]):
            await PlainTextResponse("Log in.", 401)(scope, receive, send)
            if cured:
                return
        await PlainTextResponse("secret")(scope, receive, send)

    answer = await answered(app, lifespan="off")
    assert answer.endswith("Log in.")


@produces("fastapi", "ASGI callable returned without starting response.")
async def an_application_sends_nothing(cured):
    """One of its paths ends without an answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if cured:
            await PlainTextResponse("gone", 410)(scope, receive, send)

    answer = await answered(app, lifespan="off")
    assert answer.startswith(f"HTTP/1.1 {410 if cured else 500}")


@produces("fastapi", "ASGI callable returned without completing response.")
async def an_application_sends_no_end(cured):
    """The last message says that more will come."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(END | {"body": b"abc", "more_body": True})
        if cured:
            await send(END)

    await answered(app, lifespan="off")


def streaming(length: int | None) -> FastAPI:
    """An application that streams three bytes, under this Content-Length."""
    app, headers = FastAPI(), {} if length is None else {"content-length": str(length)}

    @app.get("/")
    async def read() -> StreamingResponse:
        return StreamingResponse(iter([b"abc"]), headers=headers)

    return app


@produces("fastapi", "Too little data for declared Content-Length")
async def a_stream_is_shorter_than_announced(cured):
    """Nine bytes were announced."""
    answer = await answered(streaming(None if cured else 9))
    assert "abc" in answer


def wrapping(*, cured: bool) -> FastAPI:
    """An application whose middleware puts answers into an envelope."""
    app = FastAPI()

    @app.middleware("http")
    async def wrap(request: Request, call_next: Any) -> Response:
        inner = await call_next(request)
        body = b"".join([part async for part in inner.body_iterator])
        headers = dict(inner.headers)
        if cured:
            del headers["content-length"]
        return Response(b'{"data": ' + body + b"}", inner.status_code, headers)

    return app


@produces("fastapi", "Too much data for declared Content-Length")
async def an_answer_grows_under_its_old_length(cured):
    """The header still tells how long the inner answer was."""
    answer = await answered(wrapping(cured=cured))
    assert not cured or answer.endswith('{"data": {"detail":"Not Found"}}')


class Finish(Wrap):
    """A middleware that ends an answer which broke off; cured, it lets the error out."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.app(scope, receive, send)
        except LocalProtocolError:
            await send(END)


@produces("fastapi", "Can't send data when our state is ERROR")
async def a_broken_answer_is_ended(cured):
    """h11 refused a body that was too long, and takes nothing after that."""
    answer = await answered(Finish(wrapping(cured=cured)), lifespan="off")
    assert not cured or answer.endswith("}")
