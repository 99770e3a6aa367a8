"""How the rule on sessions is known: where a unit of work ends, and what it locks."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import ForeignKey, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tests.harness import confirms, correct
from tests.observers.asgi import request
from tests.observers.locks import waiting
from tests.observers.waiting import reached
from tests.rules.sqlalchemy.test_sessions import Base, Item, names, stored

RULE = "sqlalchemy/sessions"
CONFLICT = "catch-a-conflict-around-a-savepoint"


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(default=0)
    lines: Mapped[list["Line"]] = relationship(back_populates="order", lazy="raise_on_sql")


class Line(Base):
    __tablename__ = "lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))
    sku: Mapped[str]
    order: Mapped[Order] = relationship(back_populates="lines", lazy="raise_on_sql")


def service(sessions, end_of_add):
    """An API whose scope begins; its repository ends an insert by the session's own method."""
    app = FastAPI()

    async def get_session() -> AsyncGenerator[AsyncSession, None]:
        async with sessions.begin() as session:
            yield session

    scope = Depends(get_session, scope="function")

    @app.post("/events", status_code=201)
    async def create(session: Annotated[AsyncSession, scope]) -> int:
        event = Order()
        session.add(event)
        await getattr(session, end_of_add)()
        await session.refresh(event)
        return event.id

    return app


@confirms(RULE, "commit-in-a-repository")
@pytest.mark.parametrize(
    ("end_of_add", "statuses", "rows"), [("commit", [500, 500], 2), ("flush", [201], 1)]
)
async def a_client_that_retries_a_500_stores_its_row_twice(postgres, end_of_add, statuses, rows):
    """Adopting begin() above a repository that commits: stored, then refused."""
    async with stored(postgres.asyncpg) as (_, sessions):
        app, seen = service(sessions, end_of_add), []
        while len(seen) < 2 and 201 not in seen:
            exchange = await request(app, "/events", "POST")
            seen.append(exchange.status)
        async with sessions() as session:
            found = (await session.scalars(select(Order.id))).all()

        assert (seen, len(found)) == (statuses, rows)
        assert end_of_add == "flush" or "Can't operate on closed transaction" in str(exchange.error)


@confirms(RULE, "commit-in-a-repository")
async def what_a_repository_committed_outlives_the_failed_use_case(postgres):
    """The rule's repository takes part in the caller's rollback; with a commit() it would not."""
    async with stored(postgres.asyncpg, "old", "gone") as (_, sessions):

        async def use_case(end_of_step):
            async with sessions.begin() as session:
                items = correct(RULE, CONFLICT).Repository(session, Item)
                assert await items.add(Item(name=f"new, {end_of_step}"))
                await session.delete(await items.get(2))
                await session.flush()
                assert await items.get(2) is None
                if end_of_step == "committed":
                    await session.commit()
                raise ValueError("the next step fails")

        with pytest.raises(ValueError, match="next step"):
            await use_case("flushed")
        assert await names(sessions) == ["old", "gone"]
        with pytest.raises(ValueError, match="next step"):
            await use_case("committed")
        assert await names(sessions) == ["old", "new, committed"]


@confirms(RULE, "slow-call-inside-the-block")
async def others_wait_for_the_lock_of_an_idle_transaction(postgres):
    """While a unit of work awaits something else, its row lock stops the next writer."""
    async with stored(postgres.asyncpg, "a") as (engine, sessions):
        called, answered = asyncio.Event(), asyncio.Event()

        async def slow_call():
            called.set()
            await answered.wait()

        async def bump(session):
            await session.execute(update(Item).values(n=Item.n + 1))

        async def inside():
            async with sessions.begin() as session:
                await bump(session)
                await slow_call()

        async def between():
            async with sessions.begin() as session:
                await bump(session)
            await slow_call()

        async def neighbour():
            async with sessions.begin() as session:
                await bump(session)

        first = asyncio.create_task(inside())
        await reached(called, first)
        held = engine.pool.checkedout()
        second = asyncio.create_task(neighbour())
        [wait] = await waiting(engine)
        answered.set()
        await asyncio.gather(first, second)

        assert held == 1
        assert wait.blocking_state == "idle in transaction"
        assert wait.query.startswith("UPDATE")

        called.clear()
        answered.clear()
        first = asyncio.create_task(between())
        await reached(called, first)
        assert engine.pool.checkedout() == 0
        await asyncio.wait_for(neighbour(), 5)
        answered.set()
        await first


@confirms(RULE, "lock-on-a-loaded-row")
async def a_lock_does_not_reload_a_loaded_row(postgres):
    """Two ways to lock keep the value loaded before; refresh, and an expression, do not."""
    async with stored(postgres.asyncpg, "a") as (_, sessions):

        async def raise_by_one(lock):
            async with sessions.begin() as session:
                item = await session.get(Item, 1)
                async with sessions.begin() as other:
                    await other.execute(update(Item).values(n=100))
                await lock(session, item)
                item.n += 1
            async with sessions() as session:
                return await session.scalar(select(Item.n))

        async def get(session, item):
            await session.get(Item, item.id, with_for_update=True)

        async def select_for_update(session, item):
            await session.scalar(select(Item).with_for_update())

        async def refresh(session, item):
            await session.refresh(item, with_for_update=True)

        stale = [await raise_by_one(get), await raise_by_one(select_for_update)]
        fresh = await raise_by_one(refresh)
        async with sessions.begin() as session, sessions() as loaded:
            await loaded.get(Item, 1)
            await session.execute(update(Item).values(n=Item.n + 1))
        async with sessions() as session:
            counted = await session.scalar(select(Item.n))

        assert stale == [1, 2]  # the 100 written in between is lost
        assert (fresh, counted) == (101, 102)


@confirms(RULE, "lock-on-a-loaded-row")
@pytest.mark.parametrize("flush", [True, False])
async def a_refresh_drops_what_was_not_flushed(postgres, flush):
    """A change made before the lock survives only when it was sent."""
    async with stored(postgres.asyncpg, "a") as (_, sessions), sessions() as session:
        item = await session.get(Item, 1)
        item.n = 7
        if flush:
            await session.flush()
        await session.refresh(item, with_for_update=True)

        assert item.n == (7 if flush else 0)
