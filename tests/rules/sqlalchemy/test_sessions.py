"""How the rule on sessions is known: its pairs and its symptoms."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.harness import proves

RULE = "sqlalchemy/sessions"
CONFLICT = "catch-a-conflict-around-a-savepoint"

Sessions = async_sessionmaker[AsyncSession]


class Base(DeclarativeBase):
    """What the application under test would have."""


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    n: Mapped[int] = mapped_column(default=0)


class Event(Base):
    """Naive column, as a datetime is mapped when nobody says otherwise."""

    __tablename__ = "events"
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]


@asynccontextmanager
async def stored(
    url: str, *names: str, **options: object
) -> AsyncGenerator[tuple[AsyncEngine, Sessions], None]:
    """A database with the tables and one item a name, on a pool that has no connection yet."""
    engine = create_async_engine(url, **options)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all, checkfirst=False)
        async with sessions.begin() as session:
            session.add_all([Item(name=name) for name in names])
        await engine.dispose()
        yield engine, sessions
    finally:
        await engine.dispose()


async def names(sessions: Sessions) -> list[str]:
    """What another transaction sees."""
    async with sessions() as session:
        return list(await session.scalars(select(Item.name).order_by(Item.id)))


@proves(RULE, "return-what-the-database-computes")
async def a_value_set_by_an_update_cannot_be_read_afterwards(half, postgres):
    """Reading a column with a SQL-side onupdate after UPDATE and commit is implicit IO."""
    engine = create_async_engine(postgres.asyncpg)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(half.Base.metadata.create_all)
        async with async_sessionmaker(engine, expire_on_commit=False)() as session:
            note = half.Note(text="draft")
            session.add(note)
            await session.commit()
            assert note.id == 1
            created = note.edited
            assert created.tzinfo is not None
            note.text = "final"
            await session.commit()
            try:
                edited = note.edited
            except MissingGreenlet as error:
                edited = error
                return True
            assert edited > created
            return False
    finally:
        await engine.dispose()


@proves(RULE, CONFLICT)
async def a_swallowed_duplicate_loses_the_callers_writes(half, postgres):
    """The unit of work around a duplicate ends without an error, and nothing of it is stored."""
    async with stored(postgres.asyncpg, "taken") as (_, sessions):
        async with sessions.begin() as session:
            repository = half.Repository(session, Item)
            assert await repository.add(Item(name="before")) is True
            assert await repository.add(Item(name="taken")) is False
            session.add(Item(name="after"))
        after = await names(sessions)
    assert after in (["taken"], ["taken", "before", "after"])

    return after == ["taken"]
