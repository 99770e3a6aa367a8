"""Texts of queries that were written for another library, another version, or not awaited."""

import gc
import subprocess
import sys

import pytest
from sqlalchemy import MetaData, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from tests.errors.sqlalchemy.shop import APPLE, Item, Line, Order
from tests.harness.errors import produces


@produces("sqlalchemy", "should be explicitly declared as text")
async def a_session_gets_a_string(shop, cured):
    """A plain string is executed as SQL."""
    async with shop.sessions() as sessions, sessions() as session:
        await session.execute(text("SELECT 1") if cured else "SELECT 1")


@produces("sqlalchemy", "Not an executable object")
async def a_connection_gets_a_string(shop, cured):
    """A plain string is executed as SQL on a connection."""
    async with shop.engine() as engine, engine.connect() as connection:
        await connection.execute(text("SELECT 1") if cured else "SELECT 1")


@produces("sqlalchemy", "'AsyncEngine' object has no attribute '_run_ddl_visitor'")
async def tables_are_created_without_a_connection(shop, cured):
    """`create_all()` gets the async engine itself."""
    tables = MetaData()
    async with shop.engine() as engine:
        if cured:
            async with engine.begin() as connection:
                await connection.run_sync(tables.create_all)
        else:
            tables.create_all(engine)


@produces("sqlalchemy", "No row was found when")
async def a_row_is_asked_for_that_is_not_there(shop, cured):
    """`scalar_one()` of a query that finds nothing."""
    async with shop.sessions() as sessions, sessions() as session:
        found = await session.execute(select(Item).where(Item.name == "pear"))
        return found.scalar_one_or_none() if cured else found.scalar_one()


@produces("sqlalchemy", "Multiple rows were found when")
async def one_row_is_asked_for_where_there_are_two(shop, cured):
    """`scalar_one_or_none()` of a query that finds two rows."""
    async with shop.sessions() as sessions, sessions.begin() as session:
        session.add(Item(name="pear"))
        query = select(Item.name).order_by(Item.name)
        found = await session.execute(query.limit(1) if cured else query)
        return found.scalar_one_or_none()


@produces("sqlalchemy", "This result object does not return rows")
async def an_insert_is_asked_for_rows(shop, cured):
    """The key of an INSERT is read that does not return it."""
    add = insert(Item).values(name="pear")
    async with shop.sessions() as sessions, sessions() as session:
        if cured:
            return await session.scalar(add.returning(Item.id))
        done = await session.execute(text("INSERT INTO items (name, n) VALUES ('pear', 0)"))
        return done.scalar_one()


@produces("sqlalchemy", "Could not locate a bind configured on")
async def a_session_has_no_engine(shop, cured):
    """A session is made without an engine."""
    async with shop.engine() as engine, AsyncSession(engine if cured else None) as session:
        await session.scalar(select(Item.name))


@produces("sqlalchemy", "'coroutine' object has no attribute 'scalars'")
async def a_result_is_not_awaited(shop, cured):
    """`await` is missing before `execute()`."""
    async with shop.sessions() as sessions, sessions() as session:
        if cured:
            return (await session.execute(select(Item.name))).scalars().all()
        return session.execute(select(Item.name)).scalars().all()


@produces("sqlalchemy", "coroutine 'AsyncSession.commit' was never awaited")
async def a_commit_is_not_awaited(shop, cured):
    """`await` is missing before `commit()`: the row is not stored."""
    async with shop.sessions() as sessions:
        async with sessions() as session:
            session.add(Item(name="pear"))
            if cured:
                await session.commit()
            else:
                session.commit()
                gc.collect()
        async with sessions() as session:
            stored = await session.scalar(select(Item).where(Item.name == "pear")) is not None
            assert stored is cured


@produces("sqlalchemy", "'AsyncSession' object has no attribute 'query'")
async def an_async_session_is_queried_as_a_sync_one(shop, cured):
    """`session.query()` is the interface of SQLAlchemy 1."""
    async with shop.sessions() as sessions, sessions() as session:
        if cured:
            return (await session.scalars(select(Item.name))).all()
        return session.query(Item.name).all()


@produces("sqlalchemy", "None of the FROM clause entities have a property", where="sqlalchemy>=2.1")
def a_filter_names_no_column(cured):
    """`filter_by()` gets a name that the model does not have."""
    return select(Item).filter_by(**{"name" if cured else "title": "apple"})


@produces("sqlalchemy", "instead of filter_by()", where="sqlalchemy>=2.1")
def a_filter_names_a_column_of_both_sides(cured):
    """After a join both models have the name that `filter_by()` gets."""
    query = select(Order).join(Order.lines)
    return query.where(Line.id == APPLE) if cured else query.filter_by(id=APPLE)


@produces("sqlalchemy", "requires that the Python 'greenlet' library", where="sqlalchemy>=2.1")
@pytest.mark.slow
def greenlet_is_not_installed(shop, cured):
    """A process runs a query, and cannot import greenlet."""
    program = """
import asyncio, sys
if sys.argv[2] == "without":
    sys.modules["greenlet"] = None
from sqlalchemy import select
from sqlalchemy.ext.asyncio import create_async_engine

async def main():
    engine = create_async_engine(sys.argv[1])
    async with engine.connect() as connection:
        await connection.execute(select(1))
    await engine.dispose()

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, shop.database.asyncpg, "with" if cured else "without"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode == 0) is cured
    return done.stderr
