"""Proofs of the pairs and the symptoms of fastapi/dependencies."""

import gc
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from tests.harness import proves
from tests.observers.asgi import request
from tests.observers.failing_commit import refuse_commit
from tests.servers.postgres import Database

RULE = "fastapi/dependencies"
STOCK = """
    CREATE TABLE stock (sku text PRIMARY KEY);
    INSERT INTO stock SELECT to_char(n, 'FM0000') FROM generate_series(1, 2500) AS n
"""


@asynccontextmanager
async def orders(postgres: Database) -> AsyncIterator[tuple[AsyncEngine, async_sessionmaker]]:
    """An engine on a database with a table of orders, and its session factory."""
    postgres.execute("CREATE TABLE orders (id serial PRIMARY KEY, sku text NOT NULL)")
    engine = create_async_engine(postgres.asyncpg)
    try:
        yield engine, async_sessionmaker(engine, expire_on_commit=False)
    finally:
        await engine.dispose()


def shop(half) -> FastAPI:
    """An application that stores an order through the half's session."""
    app = FastAPI()

    @app.post("/orders", status_code=201)
    async def create(sku: str, session: half.Session) -> str:
        await session.execute(text("INSERT INTO orders (sku) VALUES (:sku)"), {"sku": sku})
        return sku

    return app


@proves(RULE, "one-session-alias")
async def a_lost_row_is_answered_with_201(half, postgres):
    """The server refuses the COMMIT, and the client has been told that the row is stored."""
    app = shop(half)
    async with orders(postgres) as (_, sessions):
        postgres.execute(refuse_commit("orders", "NEW.sku = 'refused'"))
        stored = await request(app, "/orders?sku=ok", "POST", state={"sessions": sessions})
        assert (stored.status, stored.json(), stored.error) == (201, "ok", None)

        lost = await request(app, "/orders?sku=refused", "POST", state={"sessions": sessions})

    assert postgres.execute("SELECT sku FROM orders") == [("ok",)]
    assert isinstance(lost.error, IntegrityError)
    return lost.status == 201


async def status_without_table(app: FastAPI, state: dict[str, Any]) -> int:
    """The status of an export whose query fails; nothing of it is kept, so that it can be freed."""
    exchange = await request(app, "/export", state=state)
    assert isinstance(exchange.error, ProgrammingError)
    return exchange.status


@proves(RULE, "sessions-for-streams")
async def a_connection_is_out_when_the_body_is_sent(half, postgres):
    """With the last byte a connection is out, and a failing query is answered with success."""
    app = FastAPI()
    app.get("/export")(half.export)
    out = []
    async with orders(postgres) as (engine, sessions):

        def count(message) -> None:
            out.append(engine.pool.checkedout())

        status = await status_without_table(app, {"sessions": sessions})
        gc.collect()
        postgres.execute(STOCK)
        gc.disable()  # a collection would end the forgotten connection, at a moment of its choice
        try:
            exchange = await request(app, "/export", state={"sessions": sessions}, on_send=count)
        finally:
            gc.enable()
            gc.collect()

    lines = [f"{number:04}" for number in range(1, 2501)]
    assert (exchange.status, exchange.body.decode().split()) == (200, lines)
    signs = {out[-1] > 0, max(out) > 0, status == 200}
    assert len(signs) == 1, "the signs disagree"
    return signs.pop()


@proves(RULE, "settings-that-keep-secrets")
async def a_secret_shows_in_text_about_settings(half, monkeypatch, tmp_path):
    """The signing key stands in the error about another variable, or in the repr."""
    key = "correct horse battery staple 1234"
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"APP_JWT_KEY={key}\n")
    with pytest.raises(ValidationError) as missing:
        half.Settings()
    written = "".join(traceback.format_exception(missing.value))
    assert "database_url" in written
    monkeypatch.setenv("APP_DATABASE_URL", "postgresql://app:hunter2@db/app")
    settings = await half.get_settings()
    assert {"jwt_key", "database_url"} == set(settings.model_dump())

    told_by_the_error = key in written
    told_by_the_repr = "hunter2" in repr(settings)
    assert {key in repr(missing.value), told_by_the_error} == {told_by_the_repr}
    return told_by_the_repr
