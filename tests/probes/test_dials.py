"""Connections that each request opens anew, or waits for: what is said where none is seen."""

import asyncio
import contextlib
import http.client
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import asyncpg
import psycopg
import pytest
from fastapi import FastAPI, Request, WebSocket
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from tests.harness.probing import Limits, judged, probed, told, traps
from tests.observers.shipped import shipped
from tests.probes.shop import LIST, READ, shop, skus


def test_connections_that_only_the_database_sees_are_no_ok(sqlite) -> None:
    """libpq and SQLite open theirs past the event loop."""
    app = shop(sqlite.url)
    app.state.pool = {"poolclass": NullPool}
    app.get("/stock")(skus)

    verdicts = probed(app, LIST, wanted="dials")

    assert judged(verdicts, "dials") == {"cannot-tell"}


def test_a_request_that_hangs_for_a_second_connection_says_what_it_holds(sqlite) -> None:
    """A pool of one never gives it."""
    app = shop(sqlite.url)
    app.state.pool = {"pool_size": 1, "max_overflow": 0}

    @app.get("/stock")
    async def stock(request: Request) -> list[str]:
        async with request.state.sessions() as session:
            await session.scalars(READ)
            return await skus(request)

    verdicts = probed(app, LIST, wanted="checkouts", limits=Limits(request=0.3))

    assert "holding a connection taken at tests/probes/" in told(verdicts, "request")


@pytest.mark.parametrize(("stays", "verdict"), [(True, "cannot-tell"), (False, "found")])
def test_a_client_that_stays_may_have_a_connection_of_its_own(postgres_shop, stays, verdict):
    """LISTEN needs one for as long as the WebSocket is open."""
    app = shop()

    @app.websocket("/news")
    async def news(socket: WebSocket) -> None:
        await socket.accept()
        connection = await asyncpg.connect(postgres_shop.url.replace("+asyncpg", ""))
        try:
            if stays:
                await socket.receive()
            await socket.close()
        finally:
            await connection.close()

    limits = Limits(patience=0.05)
    verdicts = probed(app, "WS /news", wanted="dials", limits=limits)

    assert judged(verdicts, "dials") == {verdict}, told(verdicts, "dials")


class Quotes(BaseHTTPRequestHandler):
    """Answers each request, and keeps the connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def quotes() -> Iterator[int]:
    """The port of an HTTP server with a thread for each connection."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Quotes) as server:
        server.daemon_threads, server.block_on_close = True, False
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("keeps", "verdict"), [(False, "found"), (True, "ok")])
def test_a_client_in_a_thread_is_seen_too(quotes, keeps, verdict) -> None:
    """A `def` endpoint's client connects past the loop, by Python's own sockets."""
    app, kept = shop(), http.client.HTTPConnection("127.0.0.1", quotes)

    @app.get("/quote")
    def quote() -> int:
        client = kept if keeps else http.client.HTTPConnection("127.0.0.1", quotes)
        client.request("GET", "/")
        with client.getresponse() as answer:
            answer.read()
        if not keeps:
            client.close()
        return answer.status

    try:
        verdicts = probed(app, "GET /quote", wanted="dials")
    finally:
        kept.close()

    assert judged(verdicts, "dials") == {verdict}, told(verdicts, "dials")


async def awaiting(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("SELECT 1")


async def waiting(url: str) -> None:
    await asyncio.to_thread(lambda: psycopg.connect(url).close())


async def through_an_engine(url: str) -> None:
    def read() -> None:
        engine = create_engine(url.replace("postgresql", "postgresql+psycopg"))
        engine.connect().close()
        engine.dispose()

    await asyncio.to_thread(read)


@pytest.mark.parametrize("connects", [awaiting, waiting, through_an_engine])
def test_a_connection_of_libpq_for_each_request_is_found(postgres_shop, connects) -> None:
    """It opens its sockets in C, where neither the loop nor Python sees them."""
    app, url = shop(), postgres_shop.url.replace("+asyncpg", "")

    @app.get("/stock")
    async def stock() -> None:
        await connects(url)

    verdicts = probed(app, LIST, wanted="dials")

    assert traps(verdicts) == {"pooling/database#one-engine-in-the-lifespan"}
    assert "test_dials.py:" in told(verdicts, "dials")


def test_a_pool_of_psycopg_opens_none(postgres_shop) -> None:
    """Its connections were there before, or are made by its own workers."""
    url = postgres_shop.url.replace("+asyncpg", "")

    @contextlib.asynccontextmanager
    async def lifespan(app):
        async with AsyncConnectionPool(url, min_size=1, max_size=1, open=False) as pool:
            yield {"pool": pool}

    app = FastAPI(lifespan=lifespan)

    @app.get("/stock")
    async def stock(request: Request) -> None:
        async with request.state.pool.connection() as connection:
            await connection.execute("SELECT 1")

    verdicts = probed(app, LIST, wanted="dials")

    assert judged(verdicts, "dials") == {"ok"}, told(verdicts, "dials")


@pytest.mark.parametrize("connects", [awaiting, waiting])
def test_a_database_elsewhere_is_refused_to_libpq_too(connects) -> None:
    """No audit hook sees it connect."""
    app = shop()

    @app.get("/stock")
    async def stock() -> None:
        await connects("postgresql://shop@198.51.100.7/shop")

    with pytest.raises(
        shipped("core.session").MisuseError, match=r"198\.51\.100\.7.*--allow-remote"
    ):
        probed(app, LIST, wanted="dials")


def test_the_line_of_a_connect_that_a_library_gives_to_a_task_is_its_own() -> None:
    """wait_for() hides who waits before Python 3.12: the one that started the task is named."""
    app = shop()

    @app.get("/quote")
    async def quote() -> str:
        connecting = asyncio.open_connection("quotes.invalid", 443)
        with contextlib.suppress(OSError):
            await asyncio.wait_for(connecting, 5)
        return "none"

    verdicts = probed(app, "GET /quote", wanted="dials")

    assert "test_dials.py:" in told(verdicts, "dials")
