"""Texts of SQLite, which many tests use in PostgreSQL's place."""

import asyncio
import sqlite3
from contextlib import asynccontextmanager, closing
from datetime import datetime
from typing import Annotated, Any

import aiosqlite
import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import ARRAY, JSON, DateTime, NullPool, String, literal, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.errors.fastapi.served import ask
from tests.errors.sqlalchemy.shop import Base, Item, Line, Order
from tests.harness.errors import produces
from tests.harness.judge import run
from tests.observers.waiting import turns


@asynccontextmanager
async def database(metadata=Base.metadata, url="sqlite+aiosqlite://", **options):
    """A new SQLite database with tables."""
    engine = create_async_engine(url, **options)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        yield engine
    finally:
        await engine.dispose()


@produces("sqlalchemy", "no such table")
async def each_connection_has_a_database_of_its_own(cured):
    """An in-memory database lives as long as its one connection."""
    options = {} if cured else {"poolclass": NullPool}
    async with database(**options) as engine, AsyncSession(engine) as session:
        await session.scalar(select(Item.name))


@produces("sqlalchemy", "UNIQUE constraint failed")
async def a_name_is_taken(cured):
    """A row has the name of a stored one."""
    async with database() as engine, AsyncSession(engine) as session:
        session.add_all([Item(name="apple"), Item(name="apple")])
        try:
            await session.commit()
        except IntegrityError as error:
            if not cured or error.orig.sqlite_errorname != "SQLITE_CONSTRAINT_UNIQUE":
                raise


@produces("sqlalchemy", "NOT NULL constraint failed")
async def a_name_is_missing(cured):
    """A column that has to have a value gets none."""
    async with database() as engine, AsyncSession(engine) as session:
        session.add(Item(name="apple" if cured else None))
        await session.commit()


async def a_parent_is_deleted():
    async with database() as engine, AsyncSession(engine) as session:
        order = Order(lines=[Line()])
        session.add(order)
        await session.flush()
        await session.delete(order)
        await session.flush()


def test_a_deleted_parent_takes_the_key_of_its_children():
    """The column that gets no value is the children's foreign key, in an UPDATE."""
    with pytest.raises(IntegrityError, match="NOT NULL constraint failed") as caught:
        run(a_parent_is_deleted, 10)

    assert caught.value.statement == "UPDATE lines SET order_id=? WHERE lines.id = ?"


@produces("sqlalchemy", "FOREIGN KEY constraint failed")
async def a_parent_is_missing(cured):
    """SQLite looks for parents where it was told to."""
    async with database() as engine, AsyncSession(engine) as session:
        await session.execute(text("PRAGMA foreign_keys = ON"))
        if cured:
            session.add(Order(id=7))
            await session.flush()
        session.add(Line(order_id=7))
        await session.commit()


@pytest.mark.parametrize(
    ("rule", "name"),
    [("", "SQLITE_CONSTRAINT_FOREIGNKEY"), ("ON DELETE RESTRICT", "SQLITE_CONSTRAINT_TRIGGER")],
)
def test_a_parent_with_children_is_deleted(rule: str, name: str) -> None:
    """SQLite's own name for the conflict tells it from others, by the rule of the key."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        connection.execute(f"CREATE TABLE children (parent INT REFERENCES parents (id) {rule})")
        connection.execute("INSERT INTO parents VALUES (1)")
        connection.execute("INSERT INTO children VALUES (1)")

        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY constraint") as caught:
            connection.execute("DELETE FROM parents")

    assert caught.value.sqlite_errorname == name


@produces("sqlalchemy", "SQLite objects created in a thread")
async def a_provider_connects_in_its_own_thread(cured):
    """FastAPI runs a `def` provider in a thread, and the endpoint on the loop."""
    app = FastAPI()

    def connected():
        with closing(sqlite3.connect(":memory:")) as connection:
            yield connection

    async def connected_on_the_loop():
        async with aiosqlite.connect(":memory:") as connection:
            yield connection

    provider = connected_on_the_loop if cured else connected

    @app.get("/")
    async def read(connection: Annotated[Any, Depends(provider)]) -> int:
        rows = connection.execute("SELECT 1")
        return (await (await rows).fetchone() if cured else rows.fetchone())[0]

    return await ask(app)


@produces("sqlalchemy", "database is locked")
async def two_connections_write(tmp_path, cured):
    """Another connection holds the write lock for longer than this one waits."""
    url = f"sqlite+aiosqlite:///{tmp_path}/shop.db"
    waits = {"timeout": 30 if cured else 0}
    async with database(url=url, connect_args=waits) as engine, AsyncSession(engine) as session:
        with closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            session.add(Item(name="apple"))
            writing = asyncio.create_task(session.commit())
            if cured:
                await turns()
                other.execute("COMMIT")
            await writing


@produces("sqlalchemy", "can't render element of type")
async def a_model_has_an_array(cured):
    """A column type of PostgreSQL in tables that are created on SQLite."""

    class Own(DeclarativeBase):
        pass

    class Event(Own):
        __tablename__ = "events"
        id: Mapped[int] = mapped_column(primary_key=True)
        tags: Mapped[list[str]] = mapped_column(
            ARRAY(String).with_variant(JSON(), "sqlite") if cured else ARRAY(String)
        )

    async with database(Own.metadata):
        pass


@produces("sqlalchemy", "SQLite DateTime type only accepts Python datetime")
async def a_date_is_a_string(cured):
    """A date from JSON reaches the query as the string it came as."""
    at = "2026-01-31T00:00:00"
    query = select(literal(datetime.fromisoformat(at) if cured else at, DateTime))
    async with database() as engine, AsyncSession(engine) as session:
        await session.scalar(query)


@produces("sqlalchemy", "threads can only be started once")
async def a_connection_is_awaited_and_entered(cured):
    """aiosqlite's connection is awaited, which opens it, and then entered, which does so again."""
    opening = aiosqlite.connect(":memory:")
    if cured:
        async with opening as connection:
            await connection.execute("SELECT 1")
        return
    connection = await opening
    try:
        async with connection:
            pass
    finally:
        await connection.close()
