"""How the rule on relationships is known: its pairs and its symptoms."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import ForeignKey, select
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from tests.harness import proves
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
        cascade="save-update, merge, expunge, delete, delete-orphan",
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
) -> AsyncGenerator[tuple[AsyncEngine, Sessions], None]:
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
async def each_row_costs_a_statement(half, postgres):
    """Twenty-seven comments more take as many statements more."""
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

    return sent_for[30] >= sent_for[3] + 27


@proves(RULE, "filter-parents-by-exists")
async def a_page_is_short_or_its_collections_are_cut(half, postgres):
    """Thirty orders match by three of their four lines: a page of twenty has fewer, or cut ones."""
    matching = [order_of("a1", "a2", "a3", "b") for _ in range(30)]
    async with database(postgres.asyncpg, order_of("b"), *matching) as (_, sessions):
        async with sessions() as session:
            starts = Line.sku.startswith("a")
            query = half.page(select(Order), Order.lines, starts, Order.id)
            found = (await session.scalars(query)).unique().all()
            sizes = [len(order.lines) for order in found]
        assert sizes
        assert [order.id for order in found] == [row.id for row in matching[: len(found)]]

    return sizes != [4] * 20


@proves(RULE, "page-by-a-unique-key")
async def a_walk_over_the_pages_misses_rows(half, postgres):
    """Fifty orders, three placed at a time: page after page does not show each of them once."""
    rows = [Order(placed=n // 3) for n in range(50)]
    async with database(postgres.asyncpg, *rows) as (_, sessions):
        pages = [page async for page in walk(sessions, half.page, select(Order))]
    seen = [order for page in pages for order in page]
    placed = [order.placed for order in seen]
    assert len(pages[0]) == 20
    assert placed == sorted(placed, reverse=True)

    missed = len({row.id for row in rows} - {order.id for order in seen})
    shown_twice = len(seen) - len({order.id for order in seen})
    return bool(missed or shown_twice)


async def walk(sessions: Sessions, page: Any, query: Any) -> AsyncGenerator[list[Order], None]:
    """Each page, in a session of its own as requests have, until an empty one."""
    last = None
    for _ in range(30):
        async with sessions() as session:
            statement = page(query, Order.placed, Order.id, last)
            found = list(await session.scalars(statement))
        if not found:
            return
        yield found
        last = found[-1].placed, found[-1].id
    raise AssertionError("the pages do not end")
