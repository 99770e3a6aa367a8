"""Texts of statements that hold, or write, many rows."""

import pytest
from sqlalchemy import ARRAY, CHAR, Integer, String, any_, cast, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.errors.sqlalchemy.shop import Item
from tests.harness.errors import produces

PEARS = [{"name": "pear", "n": 1}, {"name": "pear", "n": 2}]


def among(ids: list[int], cured: bool):
    """A query for items by their keys: a parameter for each key, or one for all of them."""
    keys = cast(ids, ARRAY(Integer))
    return select(Item.id).where(Item.id == any_(keys) if cured else Item.id.in_(ids))


@produces("sqlalchemy", "the number of query arguments cannot exceed 32767")
async def a_list_has_too_many_values(shop, cured):
    """A query names more keys than asyncpg sends parameters."""
    async with shop.sessions() as sessions, sessions() as session:
        await session.scalars(among(list(range(32_768)), cured))


@pytest.mark.slow
@produces("sqlalchemy", "number of parameters must be between 0 and 65535")
async def a_list_has_too_many_values_for_psycopg(shop, cured):
    """A query names more keys than the protocol can count."""
    engine = create_async_engine(shop.database.psycopg)
    try:
        async with AsyncSession(engine) as session:
            await session.scalars(among(list(range(65_536)), cured))
    finally:
        await engine.dispose()


@produces("sqlalchemy", "ON CONFLICT DO UPDATE command cannot affect row a second time")
async def an_upsert_repeats_a_key(shop, cured):
    """Two rows of one statement have the same key."""
    rows = list({row["name"]: row for row in PEARS}.values()) if cured else PEARS
    add = upsert(Item).values(rows)
    merge = add.on_conflict_do_update(index_elements=["name"], set_={"n": add.excluded.n})
    async with shop.sessions() as sessions, sessions() as session:
        await session.execute(merge)


@produces("sqlalchemy", "no unique or exclusion constraint matching the ON CONFLICT specification")
async def an_upsert_names_a_column_that_is_not_unique(shop, cured):
    """The columns by which rows are to conflict have no unique index."""
    columns = ["name"] if cured else ["n"]
    add = upsert(Item).values(PEARS[0]).on_conflict_do_nothing(index_elements=columns)
    async with shop.sessions() as sessions, sessions() as session:
        await session.execute(add)


@produces("sqlalchemy", "A value is required for bind parameter")
async def a_later_row_lacks_a_key(shop, cured):
    """The first row decides about the columns, and the second has fewer."""
    rows = [{"name": "pear", "n": 1}, {"name": "plum"}]
    async with shop.sessions() as sessions, sessions() as session:
        await session.execute(insert(Item if cured else Item.__table__), rows)


@produces("sqlalchemy", "Unconsumed column names")
async def a_key_is_no_column(shop, cured):
    """A row has a key that the table does not have."""
    row = {"name" if cured else "title": "pear", "n": 1}
    async with shop.sessions() as sessions, sessions() as session:
        await session.execute(insert(Item.__table__).values(row))


@produces("sqlalchemy", "Can't match sentinel values in result set to parameter sets")
async def a_key_comes_back_changed(shop, cured):
    """The column pads its values, and SQLAlchemy looks for a row by the key it sent."""

    class Base(DeclarativeBase):
        pass

    class Device(Base):
        __tablename__ = "devices"
        __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012
        id: Mapped[str] = mapped_column(String(8) if cured else CHAR(8), primary_key=True)
        number: Mapped[int] = mapped_column(server_default=func.random())

    async with shop.sessions() as sessions, sessions() as session:
        connection = await session.connection()
        await connection.run_sync(Base.metadata.create_all)
        session.add_all([Device(id="a"), Device(id="b")])
        await session.flush()
