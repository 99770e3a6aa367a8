"""A shop to plant failures in: a FastAPI application on a database of either kind."""

import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from tests.servers.postgres import Database

TABLES = """
CREATE TABLE stock (sku varchar(200) PRIMARY KEY);
INSERT INTO stock VALUES ('a'), ('b'), ('c'), ('d');
CREATE TABLE comments (id integer PRIMARY KEY, parent_id integer REFERENCES comments (id));
INSERT INTO comments VALUES (1, NULL), (2, NULL), (3, NULL), (4, 1), (5, 2), (6, 3);
"""
READ = text("SELECT sku FROM stock ORDER BY sku LIMIT 4")
WRITE = text("INSERT INTO stock VALUES (:sku)")
ORDER = "POST /orders?sku={{uuid}}"  # answered by what a test plants
LIST = "GET /stock"


@dataclass(frozen=True)
class Store:
    """A database with a few rows."""

    url: str
    execute: Callable[[str], list[tuple[Any, ...]]]

    def rows(self) -> int:
        return int(self.execute("SELECT count(*) FROM stock")[0][0])


def sqlite_store(folder: Path) -> Store:
    """A file in this folder."""
    path = folder / "shop.db"

    def execute(sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute(sql).fetchall()

    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES)
    return Store(f"sqlite+aiosqlite:///{path}", execute)


def postgres_store(database: Database) -> Store:
    """A database of the test server's."""
    database.execute(TABLES)
    return Store(database.asyncpg, database.execute)


def shop(url: str = "", **more: Any) -> FastAPI:
    """An application whose state has `sessions` and `engine`, and what else is given."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, Any], None]:
        if not url:
            yield more
            return
        engine = create_async_engine(url, **app.state.pool)
        yield {
            "engine": engine,
            "sessions": async_sessionmaker(engine, expire_on_commit=False),
            **more,
        }
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)
    app.state.pool = {}
    return app


async def skus(request: Request) -> list[str]:
    """A GET that is right."""
    async with request.state.sessions() as session:
        return list(await session.scalars(READ))


async def nothing() -> None:
    """A GET that does nothing."""
