"""Texts of what PostgreSQL refuses: constraints, lengths, locks."""

import contextlib

from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import delete, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from tests.errors.sqlalchemy.shop import APPLE, Item, Line, Order
from tests.harness.errors import produces


async def store(shop, row, caught=""):
    """Add a row in a unit of work; answer False where the SQLSTATE is one that is expected."""
    async with shop.sessions() as sessions, sessions.begin() as session:
        try:
            async with session.begin_nested():
                session.add(row)
        except IntegrityError as error:
            if getattr(error.orig, "sqlstate", None) != caught:
                raise
            return False
        return True


@produces("sqlalchemy", "duplicate key value violates unique constraint")
async def a_name_is_taken(shop, cured):
    """A row has the name of a stored one."""
    await store(shop, Item(name="apple"), caught="23505" if cured else "")


@produces("sqlalchemy", "violates foreign key constraint")
async def a_parent_is_missing(shop, cured):
    """A row names a parent that is not there."""
    await store(shop, Line(order_id=-1), caught="23503" if cured else "")


@produces("sqlalchemy", "update or delete on table")
async def a_parent_with_children_is_deleted(shop, cured):
    """A row is deleted that others refer to."""
    async with shop.sessions() as sessions, sessions.begin() as session:
        if cured:
            await session.execute(delete(Line).where(Line.order_id == 1))
        await session.execute(delete(Order).where(Order.id == 1))


@produces("sqlalchemy", "violates not-null constraint")
async def a_required_column_is_none(shop, cured):
    """A required column gets None."""
    await store(shop, Item(name="pear" if cured else None))


@produces("sqlalchemy", "violates check constraint")
async def a_stock_goes_below_zero(shop, cured):
    """A row breaks a CHECK."""
    async with shop.sessions() as sessions, sessions() as session:
        await session.execute(text("ALTER TABLE items ADD CONSTRAINT in_stock CHECK (n >= 0)"))
        enough = "AND n >= :n" if cured else ""
        take = text(f"UPDATE items SET n = n - :n WHERE id = :id {enough} RETURNING n")
        assert await session.scalar(take, {"n": 6, "id": APPLE}) is None


@produces("sqlalchemy", "value too long for type character varying")
async def a_name_is_too_long(shop, cured):
    """A string is longer than its column; the input's model has the same length, or none."""

    class ItemIn(BaseModel):
        name: str = Field(max_length=Item.name.type.length if cured else None)

    with contextlib.suppress(ValidationError):
        await store(shop, Item(name=ItemIn(name="x" * 21).name))


@produces("sqlalchemy", "could not obtain lock on row in relation")
async def a_locked_row_is_not_waited_for(shop, cured):
    """A row that another transaction holds is locked with NOWAIT."""
    query = select(Item).where(Item.id == APPLE)
    mine = query.with_for_update(skip_locked=True) if cured else query.with_for_update(nowait=True)
    async with shop.sessions() as sessions, sessions() as session, sessions() as another:
        await another.scalar(query.with_for_update())
        await session.scalar(mine)


@produces("sqlalchemy", "cannot be applied to the nullable side of an outer join")
async def a_lock_meets_a_joinedload(shop, cured):
    """A query locks its rows, and loads a relationship by an outer join."""
    query = select(Line).options(joinedload(Line.order))
    query = query.with_for_update(of=Line) if cured else query.with_for_update()
    async with shop.sessions() as sessions, sessions() as session:
        assert (await session.scalars(query)).one().order is not None
