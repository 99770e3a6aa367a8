"""How the rule on relationships is known: its pairs and its symptoms."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from sqlalchemy import ForeignKey, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship

from tests.harness import confirms, correct, produces, proves
from tests.observers.asgi import Exchange, request
from tests.observers.statements import statements

RULE = "sqlalchemy/relationships"
EXPLICIT = "forbid-implicit-loads"

Sessions = async_sessionmaker[AsyncSession]


class Base(DeclarativeBase):
    """What the application under test would have."""


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    placed: Mapped[int | None]
    lines: Mapped[list["Line"]] = relationship(
        back_populates="order",
        lazy="raise_on_sql",
        cascade="all, delete-orphan",
        passive_deletes=True,
    )
    notes: Mapped[list["Note"]] = relationship(lazy="raise_on_sql")


class Line(Base):
    __tablename__ = "lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str]
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"))
    order: Mapped[Order] = relationship(back_populates="lines", lazy="raise_on_sql")


class Note(Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))


@asynccontextmanager
async def database(
    url: str, *rows: DeclarativeBase, base: type[DeclarativeBase] = Base
) -> AsyncIterator[tuple[AsyncEngine, Sessions]]:
    """A database with the tables and these rows."""
    engine = create_async_engine(url)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(base.metadata.create_all)
        async with sessions.begin() as session:
            session.add_all(rows)
        yield engine, sessions
    finally:
        await engine.dispose()


def order_of(*skus: str, placed: int | None = 0, notes: int = 0) -> Order:
    """An order with a line of each sku."""
    return Order(
        placed=placed,
        lines=[Line(sku=sku) for sku in skus],
        notes=[Note() for _ in range(notes)],
    )


@proves(RULE, EXPLICIT)
async def the_statements_grow_with_the_rows(half, postgres):
    """Thirty comments take more statements than three."""
    sent_for = {}
    async with database(postgres.asyncpg, base=half.Base) as (engine, sessions):
        for added, rows in (3, 3), (27, 30):
            async with sessions.begin() as session:
                replies = [half.Comment() for _ in range(added - 1)]
                session.add(half.Comment(replies=replies))
            async with sessions() as session:
                with statements(engine) as sent:
                    found = await half.sizes(session)
            assert (len(found), max(found)) == (rows, added - 1)
            sent_for[rows] = len(sent)

    return sent_for[30] > sent_for[3]


@proves(RULE, "filter-parents-by-exists")
async def a_page_is_short_or_its_collections_are_cut(half, postgres):
    """Thirty orders match by three of their four lines: a page of twenty has fewer, or cut ones."""
    matching = [order_of("a1", "a2", "a3", "b") for _ in range(30)]
    async with database(postgres.asyncpg, order_of("b"), *matching) as (_, sessions):
        async with sessions() as session:
            query = half.page(select(Order), Order.lines, Line.sku.startswith("a"))
            found = (await session.scalars(query.order_by(Order.id))).unique().all()
            sizes = [len(order.lines) for order in found]
        assert sizes
        assert [order.id for order in found] == [row.id for row in matching[: len(found)]]

    return sizes != [4] * 20


@proves(RULE, "page-by-a-unique-key")
async def a_walk_over_the_pages_misses_rows(half, postgres):
    """Fifty orders, three placed at a time: page after page does not show them all."""
    rows = [Order(placed=n // 3) for n in range(50)]
    async with database(postgres.asyncpg, *rows) as (_, sessions), sessions() as session:
        pages = [page async for page in walk(session, half, select(Order))]
    seen = [order for page in pages for order in page]
    assert len(pages[0]) == 20
    assert [order.placed for order in seen] == sorted(order.placed for order in seen)

    return sorted(order.id for order in seen) != [row.id for row in rows]


async def walk(session: AsyncSession, half: Any, query: Any) -> AsyncIterator[list[Order]]:
    """Each page of a half, until an empty one."""
    last = None
    for _ in range(9):
        statement = half.page(query, Order.placed, Order.id, last)
        found = list(await session.scalars(statement))
        if not found:
            return
        yield found
        last = found[-1].placed, found[-1].id
    raise AssertionError("the pages do not end")


@produces(RULE, "is not available due to lazy='raise_on_sql'")
async def a_collection_that_no_query_loaded_cannot_be_read(postgres):
    """The correct mapping refuses to load on access."""
    half = correct(RULE, EXPLICIT)
    row = half.Comment(replies=[])
    stored = database(postgres.asyncpg, row, base=half.Base)
    async with stored as (_, sessions), sessions() as session:
        comment = await session.get(half.Comment, 1)
        with pytest.raises(InvalidRequestError) as caught:
            _ = comment.replies

    return str(caught.value)


@produces(RULE, "The unique() method must be invoked")
async def a_joined_collection_cannot_be_read_as_rows(postgres):
    """all() on a joinedload of a collection asks for unique()."""
    async with database(postgres.asyncpg, order_of("a")) as (_, sessions), sessions() as session:
        result = await session.scalars(select(Order).options(joinedload(Order.lines)))
        with pytest.raises(InvalidRequestError) as caught:
            result.all()

    return str(caught.value)


class OrderOut(BaseModel):
    """What clients see of an order: its relationship too."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    notes: list[dict[str, int]]


async def answered(sessions: Sessions, *load: str) -> Exchange:
    """What a client gets from an endpoint that has loaded these attributes of order 1."""
    app = FastAPI()

    @app.get("/", response_model=OrderOut)
    async def read() -> Any:
        async with sessions() as session:
            order = await session.get(Order, 1)
            if load:
                await session.refresh(order, load)
            return order

    return await request(app)


@produces(RULE, "Error extracting attribute")
async def a_response_reads_what_nobody_loaded(postgres):
    """FastAPI's complaint about the response, as the server logs it."""
    async with database(postgres.asyncpg, order_of()) as (_, sessions):
        return str((await answered(sessions)).error)


@confirms(RULE, "response-models")
async def a_relationship_in_a_response_model_is_a_500_unless_loaded(postgres):
    """The same endpoint answers when refresh() named the collection."""
    async with database(postgres.asyncpg, order_of()) as (_, sessions):
        unloaded, loaded = await answered(sessions), await answered(sessions, "notes")

    assert unloaded.status == 500
    assert (loaded.status, loaded.json()) == (200, {"id": 1, "notes": []})
