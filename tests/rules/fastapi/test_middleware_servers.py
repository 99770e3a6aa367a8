"""How the rule on middleware is known: what takes a real server to see."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.harness import confirms
from tests.servers.uvicorn import Server, uvicorn

TWICE = """
import asyncio
import logging
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from tests.harness import correct

def build() -> FastAPI:
    app, asked = FastAPI(), asyncio.Event()

    @app.get("/poll/{name}")
    async def poll(name: str, request: Request):
        print(name, "began")
        while not (gone := await request.is_disconnected()) and not asked.is_set():
            await asyncio.sleep(0.01)
        print(name, "saw disconnect:", gone)

    @app.get("/answer")
    async def answer():
        asked.set()

    @app.get("/stream")
    async def stream():
        async def chunks():
            yield "half"
            raise RuntimeError
        return StreamingResponse(chunks())

    return app

app, bare, wrapped = FastAPI(), build(), build()
app.add_middleware(correct("fastapi/middleware", "one-access-line-per-request").AccessLog)

@app.get("/configure")
async def configure():
    logging.basicConfig(level=logging.INFO, format="%(message)s")

@wrapped.middleware("http")
async def nothing(request, call_next):
    return await call_next(request)

app.mount("/bare", bare)
app.mount("/wrapped", wrapped)
"""

UNGUARDED = """
from fastapi import FastAPI
from tests.rules.fastapi.test_middleware_servers import Unguarded, announced

app = FastAPI(lifespan=announced)
app.add_middleware(Unguarded)
app.add_api_route("/", lambda: "served")
"""

RAN = "the lifespan ran"


class Unguarded:
    """A middleware that reads what a lifespan's scope does not have."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        dict(scope["headers"])
        await self.app(scope, receive, send)


@asynccontextmanager
async def announced(app: FastAPI) -> AsyncGenerator[None, None]:
    """A lifespan that says so."""
    print(RAN)
    yield


async def sent(server: Server, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection and send a request that leaves it open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return reader, writer


async def answer(server: Server, path: str, until: bytes) -> bytes:
    """What the server sends up to `until`, or up to where it closes the connection."""
    reader, writer = await sent(server, path)
    try:
        return await reader.readuntil(until)
    except asyncio.IncompleteReadError as error:
        return error.partial
    finally:
        writer.close()


@pytest.mark.slow
@confirms("fastapi/middleware", "basehttpmiddleware-anywhere", "silent-access-logger", limit=40)
async def a_base_middleware_hides_the_disconnect_and_the_broken_stream():
    """On a real socket nobody has gone and half a stream ends well; nor is there an access line."""
    async with uvicorn(TWICE, "--no-access-log") as server:
        for name in ("bare", "wrapped"):
            _, writer = await sent(server, f"/{name}/poll/{name}?token=hunter2")
            assert await server.logged(f"{name} began")
            writer.close()
        assert await server.logged("bare saw disconnect: True")
        await answer(server, "/wrapped/answer", b"null")
        assert await server.logged("wrapped saw disconnect: False")
        assert "hunter2" not in server.log()

        end = b"0\r\n\r\n"
        assert not (await answer(server, "/bare/stream", end)).endswith(end)
        assert (await answer(server, "/wrapped/stream", end)).endswith(end)

        assert '"duration_ms"' not in server.log()
        await answer(server, "/configure", b"null")
        assert await server.logged('"route": "/configure"')


@pytest.mark.slow
def test_an_unguarded_middleware_does_not_start_where_the_lifespan_is_required() -> None:
    """The server says so and ends: errors/fastapi.md."""

    async def start() -> None:
        async with uvicorn(UNGUARDED, "--lifespan", "on"):
            pass

    with pytest.raises(RuntimeError, match="Application startup failed"):
        asyncio.run(start())


served_unguarded: list[str] = []


async def log_unguarded() -> str:
    """The log of an unguarded server that has served a request with a token; made once."""
    if not served_unguarded:
        async with uvicorn(UNGUARDED) as server:
            assert b"served" in await answer(server, "/?token=hunter2", b"served")
            assert await server.logged("GET /")
            served_unguarded.append(server.log())
    return served_unguarded[0]


@pytest.mark.slow
@confirms("fastapi/middleware", "silent-access-logger", limit=40)
async def an_unguarded_middleware_costs_the_lifespan_and_nothing_else():
    """The server serves on, and its own log keeps the token of a query string."""
    log = await log_unguarded()

    assert RAN not in log
    assert "token=hunter2" in log
