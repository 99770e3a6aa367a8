"""The restart probe: applications whose pool looks at its connections, and that do not."""

import gc
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tests.harness import correct, incorrect
from tests.harness.probing import probed
from tests.probes.shop import LIST, shop, skus

TRAP = "pooling/database#one-engine-in-the-lifespan"
ONE = text("SELECT 1")


def verdict(app, *requests):
    """What the probe says of one request."""
    (only,) = probed(app, *(requests or [LIST]), wanted="restart")
    return only


def stock(url, **pool) -> FastAPI:
    """A shop with one GET that is right, and an engine as told."""
    app = shop(url)
    app.state.pool = pool
    app.get("/stock")(skus)
    return app


def paired(half, url) -> FastAPI:
    """A half of the pair, and a GET that uses its sessions."""
    app = FastAPI(lifespan=half.lifespan)
    app.state.database_url = url

    @app.get("/stock")
    async def read(request: Request) -> int:
        session = request.state.sessions()
        async with session:
            return await session.scalar(ONE)

    return app


def test_the_pages_engine_survives_a_restart(postgres) -> None:
    """Its connections are closed, and no request fails."""
    half = correct("pooling/database", "one-engine-in-the-lifespan")

    told = verdict(paired(half, postgres.asyncpg))

    assert (told.verdict, told.says) == (
        "ok",
        "1 idle connection was closed, as a restart of the database does: no request failed",
    )


@pytest.fixture
def untidy():
    """What an incorrect half leaves open is collected here, and is its own fault."""
    yield
    gc.collect()


@pytest.mark.filterwarnings("ignore")
def test_an_engine_for_each_session_keeps_nothing_to_lose(postgres, untidy) -> None:
    """The incorrect half dials for each request: other probes see that, this one cannot."""
    half = incorrect("pooling/database", "one-engine-in-the-lifespan")

    told = verdict(paired(half, postgres.asyncpg))

    assert (told.verdict, told.says) == (
        "cannot-tell",
        "each request opens its connections anew: none is kept that could be lost",
    )


def test_a_pool_that_nobody_looks_at_is_found(postgres_shop) -> None:
    """One request fails, and SQLAlchemy then replaces what it finds closed."""
    told = verdict(stock(postgres_shop.url))

    assert (told.verdict, told.trap) == ("found", TRAP)
    assert "1 of the next 4 requests failed" in told.says
    assert told.evidence == ["answered 500, 200, 200, 200", "it recovers by itself"]


def test_a_pool_that_pings_is_ok(postgres_shop) -> None:
    """The ping finds the connection closed, and another is opened."""
    told = verdict(stock(postgres_shop.url, pool_pre_ping=True))

    assert told.verdict == "ok"


@pytest.mark.parametrize(("ping", "expected"), [(False, "found"), (True, "ok")])
@pytest.mark.parametrize("concurrent", [True, False], ids=["async def", "def"])
def test_psycopg_is_seen_too(concurrent, ping, expected, postgres) -> None:
    """Its socket is closed under it, as it watches none itself."""
    app = FastAPI()
    if concurrent:
        engine = create_async_engine(postgres.psycopg, pool_pre_ping=ping)

        @app.get("/stock")
        async def read() -> int:
            async with engine.connect() as connection:
                return (await connection.execute(ONE)).scalar_one()
    else:
        threaded = create_engine(postgres.psycopg, pool_pre_ping=ping)

        @app.get("/stock")
        def read() -> int:
            with threaded.connect() as connection:
                return connection.execute(ONE).scalar_one()

    assert verdict(app).verdict == expected


def test_every_idle_connection_is_closed(postgres_shop) -> None:
    """A pool hands out the others first where only the last one is."""
    app = stock(postgres_shop.url, pool_size=3)
    usual = app.router.lifespan_context

    @asynccontextmanager
    async def filled(app):
        async with usual(app) as state:
            connections = [await state["engine"].connect() for _ in range(3)]
            for connection in connections:
                await connection.close()
            yield state

    app.router.lifespan_context = filled

    assert verdict(app).says.startswith("3 idle connections were closed")


def test_an_application_that_tries_again_is_ok(postgres_shop) -> None:
    """The whole unit of work is repeated, and the client is told of no failure."""
    app = shop(postgres_shop.url)

    @app.get("/stock")
    async def read(request: Request) -> list[str]:
        try:
            return await skus(request)
        except DBAPIError:
            return await skus(request)

    assert verdict(app).verdict == "ok"


def test_one_that_never_recovers_is_said_so(postgres_shop) -> None:
    """Its breaker opens at the first failure, and nothing closes it."""
    app = shop(postgres_shop.url)
    broken = []

    @app.get("/stock")
    async def read(request: Request) -> list[str]:
        if broken:
            raise RuntimeError("the database is down")
        try:
            return await skus(request)
        except DBAPIError:
            broken.append(True)
            raise

    told = verdict(app)

    assert "10 of the next 10 requests failed" in told.says
    assert told.evidence[-1] == "it does not recover by itself"


def test_a_stream_and_a_socket_are_sent_again(postgres_shop) -> None:
    """Each fails once, as its first statement does."""
    from fastapi import WebSocket
    from starlette.responses import StreamingResponse

    app = shop(postgres_shop.url)
    app.state.pool = {"pool_pre_ping": True}

    @app.get("/events")
    async def events(request: Request) -> StreamingResponse:
        found = await skus(request)

        async def lines():
            for each in found:
                yield each

        return StreamingResponse(lines())

    @app.websocket("/news")
    async def news(socket: WebSocket) -> None:
        await socket.accept()
        async with socket.state.sessions() as session:
            await socket.send_text(str(await session.scalar(ONE)))
        await socket.close()

    verdicts = probed(app, "GET /events", "WS /news", wanted="restart")

    assert [each.verdict for each in verdicts] == ["ok", "ok"]


def test_sqlite_cannot_be_told(sqlite) -> None:
    """It has no server that could go away."""
    told = verdict(stock(sqlite.url))

    assert (told.verdict, told.says) == (
        "cannot-tell",
        "SQLite has no connection that a restart could close",
    )


@pytest.mark.parametrize("why", ["no database", "no pool"])
def test_without_a_pool_nothing_is_told(why, postgres_shop) -> None:
    """No connection is taken, or none is kept."""
    app = stock(postgres_shop.url, poolclass=NullPool)
    app.get("/nothing")(lambda: None)

    told = verdict(app, "GET /nothing" if why == "no database" else LIST)

    assert told.verdict == "cannot-tell"


def test_the_next_request_finds_the_application_as_it_was(postgres_shop) -> None:
    """What the probe closed is open again for the request after it."""
    app = stock(postgres_shop.url)
    app.get("/again")(skus)

    verdicts = probed(app, LIST, "GET /again", wanted="restart")

    assert [each.verdict for each in verdicts] == ["found", "found"]


def test_an_answer_that_broke_off_is_said_to_be_cut(postgres_shop) -> None:
    """Its status alone would look like a success."""
    app = shop(postgres_shop.url)

    @app.get("/stock")
    async def stock(request: Request) -> StreamingResponse:
        async def lines():
            yield "sku"
            for sku in await skus(request):
                yield sku

        return StreamingResponse(lines())

    told = verdict(app)

    assert (told.verdict, told.evidence[0][:27]) == ("found", "answered 200, cut off, 200,")
