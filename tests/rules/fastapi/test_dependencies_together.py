"""The halves of fastapi/dependencies in one service, and what its sentences promise of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.harness import correct
from tests.harness.judge import run
from tests.observers.asgi import request, running
from tests.observers.canceller import each_point
from tests.observers.statements import statements
from tests.observers.waiting import until
from tests.rules.fastapi.test_dependencies import STOCK, orders
from tests.rules.fastapi.test_dependencies_tokens import KEY, token

RULE = "fastapi/dependencies"


def test_the_halves_make_one_service(postgres, monkeypatch):
    """The lifespan of pooling/database with settings: a token decides whether a row is stored."""
    database = correct("pooling/database", "one-engine-in-the-lifespan")
    alias, tokens = correct(RULE, "one-session-alias"), correct(RULE, "tokens-that-expire")
    settings = correct(RULE, "settings-that-keep-secrets")
    monkeypatch.setenv("APP_JWT_KEY", KEY)
    monkeypatch.setenv("APP_DATABASE_URL", postgres.asyncpg)
    postgres.execute("CREATE TABLE orders (sku text)")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        loaded = settings.load_settings()
        app.state.database_url = loaded.database_url.get_secret_value()
        async with database.lifespan(app) as state:
            yield {**state, "settings": loaded}

    app = FastAPI(lifespan=lifespan)

    @app.post("/orders", status_code=201)
    async def create(
        session: alias.Session, user: Annotated[str, Depends(tokens.get_user_id)]
    ) -> None:
        await session.execute(text("INSERT INTO orders VALUES (:sku)"), {"sku": user})

    async def stored() -> list[int]:
        async with running(app) as state:
            sent = [{"authorization": f"Bearer {each}"} for each in (token(), token(exp=1))]
            answers = [await request(app, "/orders", "POST", each, state=state) for each in sent]
            return [each.status for each in answers]

    assert run(stored, limit=10) == [201, 401]
    assert postgres.execute("SELECT sku FROM orders") == [("ann",)]


@pytest.mark.parametrize("early", [True, False])
def test_a_bad_variable_stops_the_start_when_the_lifespan_loads(early, monkeypatch, tmp_path):
    """Loaded in the lifespan it is found at the start; otherwise each request is a 500."""
    half = correct(RULE, "settings-that-keep-secrets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APP_JWT_KEY", KEY)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        yield {"settings": half.load_settings()} if early else {}

    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def read(found: Annotated[half.Settings, Depends(half.get_settings)]) -> None: ...

    async def started() -> list[int]:
        async with running(app) as state:
            return [(await request(app, state=state)).status for _ in range(2)]

    if early:
        with pytest.raises(RuntimeError) as stopped:
            run(started, limit=5)
        assert isinstance(stopped.value.__cause__, ValidationError)
    else:
        assert run(started, limit=5) == [500, 500]


@asynccontextmanager
async def exporting(postgres: Any) -> AsyncIterator[tuple[FastAPI, AsyncEngine, dict[str, Any]]]:
    """The streaming half on 2,500 rows."""
    app = FastAPI()
    app.get("/export")(correct(RULE, "sessions-for-streams").export)
    async with orders(postgres) as (engine, sessions):
        postgres.execute(STOCK)
        yield app, engine, {"sessions": sessions}


def test_an_export_is_read_in_pages(postgres):
    """2,500 rows are three pages and an empty one, and the connection is used four times."""

    async def queries() -> int:
        async with exporting(postgres) as (app, engine, state):
            with statements(engine) as sent:
                assert (await request(app, "/export", state=state)).complete
            return len([each for each in sent if "stock" in each])

    assert run(queries, limit=10) == 4


def test_a_later_page_that_fails_cuts_the_body_short(postgres):
    """The table goes away after the first page: 200, the first page, and no end of the body."""

    async def cut() -> Any:
        async with exporting(postgres) as (app, _, state):

            def drop(message: Any) -> None:
                if message["type"] == "http.response.start":
                    postgres.execute("DROP TABLE stock")

            return await request(app, "/export", state=state, on_send=drop)

    exchange = run(cut, limit=10)

    assert (exchange.status, len(exchange.body.split()), exchange.complete) == (200, 1000, False)
    assert isinstance(exchange.error, ProgrammingError)


def test_an_export_cancelled_anywhere_keeps_no_connection(postgres):
    """However far it came, after a cancel every connection is back in the pool."""

    async def left() -> list[int]:
        async with exporting(postgres) as (app, engine, state):
            postgres.execute("DELETE FROM stock WHERE sku > '0002'")
            out = []
            async for _ in each_point(lambda: request(app, "/export", state=state)):
                await until(lambda: engine.pool.checkedout() == 0, limit=2)
                out.append(engine.pool.checkedout())
            return out

    out = run(left, limit=30)

    assert len(out) > 2
    assert set(out) == {0}
