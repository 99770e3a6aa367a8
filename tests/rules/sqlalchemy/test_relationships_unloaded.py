"""What the rule on relationships says of collections that nobody loaded: who reads them and how."""

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from sqlalchemy import ForeignKey, func, select
from sqlalchemy.exc import InvalidRequestError, MissingGreenlet, SAWarning
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.orm.exc import DetachedInstanceError

from tests.harness import confirms, correct
from tests.observers.asgi import Exchange, request
from tests.rules.sqlalchemy.test_relationships import (
    EXPLICIT,
    Line,
    Order,
    Sessions,
    database,
    order_of,
)

RULE = "sqlalchemy/relationships"


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


def test_a_relationship_in_a_response_model_is_a_500_unless_loaded(postgres):
    """The same endpoint answers when refresh() named the collection."""

    async def answers():
        async with database(postgres.asyncpg, order_of()) as (_, sessions):
            return await answered(sessions), await answered(sessions, "notes")

    unloaded, loaded = asyncio.run(answers())

    assert unloaded.status == 500
    assert (loaded.status, loaded.json()) == (200, {"id": 1, "notes": []})


class Lazy(DeclarativeBase):
    """Relationships as they are declared by default."""


class Account(Lazy):
    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    entries: Mapped[list["Entry"]] = relationship()


class Entry(Lazy):
    __tablename__ = "entries"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))


def test_a_load_on_access_raises_by_where_the_session_is(postgres):
    """MissingGreenlet in an open session, DetachedInstanceError after it: what a 500 quotes."""

    async def read():
        async with database(postgres.asyncpg, Account(), base=Lazy) as (_, sessions):
            async with sessions() as session:
                account = await session.get(Account, 1)
                with pytest.raises(MissingGreenlet, match="greenlet_spawn has not been called"):
                    _ = account.entries
            with pytest.raises(DetachedInstanceError):
                _ = account.entries

    asyncio.run(read())


def test_the_forbidding_mapping_raises_after_the_session_too(postgres):
    """The first pair's correct half loads nothing behind one's back, whatever the session does."""

    async def read():
        half = correct(RULE, EXPLICIT)
        stored = database(postgres.asyncpg, half.Comment(replies=[]), base=half.Base)
        async with stored as (_, sessions):
            async with sessions() as session:
                comment = await session.get(half.Comment, 1)
                with pytest.raises(InvalidRequestError):
                    _ = comment.replies
            with pytest.raises(DetachedInstanceError):
                _ = comment.replies

    asyncio.run(read())


USES = [
    lambda order: order.lines,
    lambda order: order.lines.append(Line(sku="a")),
    lambda order: setattr(order, "lines", []),
]


@confirms(RULE, "collections-of-new-rows")
@pytest.mark.parametrize("new", [True, False], ids=["new", "stored"])
async def a_collection_nobody_set_cannot_be_used_after_the_flush(postgres, new):
    """It raises for a new row and for one that get() found."""
    stored = database(postgres.asyncpg, order_of())
    async with stored as (_, sessions), sessions() as session:
        if new:
            order = Order()
            session.add(order)
            await session.flush()
        else:
            order = await session.get(Order, 1)

        for use in USES:
            with pytest.raises(InvalidRequestError, match="raise_on_sql"):
                use(order)


@confirms(RULE, "collections-of-new-rows")
async def an_empty_list_or_the_other_side_work(postgres):
    """A line added by its order is stored, unread; a collection that was set can be appended to."""
    async with database(postgres.asyncpg) as (_, sessions), sessions() as session:
        unset, constructed = Order(), Order(lines=[])
        session.add_all([unset, constructed])
        await session.flush()
        session.add(Line(sku="a", order=unset))
        assert constructed.lines == []
        constructed.lines.append(Line(sku="b"))
        await session.flush()

        found = await session.scalars(select(Line.order_id).order_by(Line.sku))
        assert list(found) == [unset.id, constructed.id]


@confirms(RULE, "collections-of-new-rows")
async def a_line_that_nobody_added_is_shown_and_not_stored(postgres):
    """Its order has it in memory; the flush leaves it out with a warning."""
    async with database(postgres.asyncpg) as (_, sessions), sessions() as session:
        order = Order(lines=[])
        session.add(order)
        await session.flush()
        Line(sku="a", order=order)
        with pytest.warns(SAWarning, match="not in session"):
            await session.flush()
        stored = await session.scalar(select(func.count()).select_from(Line))

    assert (len(order.lines), stored) == (1, 0)
