"""Texts of a session, or a connection, that several tasks use at once."""

import asyncio
import contextlib

from sqlalchemy import select

from tests.errors.sqlalchemy.shop import Item
from tests.harness.errors import produces
from tests.observers.waiting import turns


@produces("sqlalchemy", "another operation is in progress")
async def one_task_rolls_back_what_another_uses(shop, cured):
    """A task waits for its answer while its session is rolled back by another one."""
    async with shop.sessions() as sessions, sessions() as session:
        await session.scalar(select(1))
        reading = asyncio.create_task(session.scalar(select(Item.name)))
        await turns(1)
        try:
            if cured:
                async with sessions() as own:
                    await own.rollback()
            else:
                await session.rollback()
        finally:
            await asyncio.wait({reading})
            reading.exception()


@produces("sqlalchemy", "concurrent operations are not permitted")
async def tasks_share_a_new_session(shop, cured):
    """Two reads are gathered on one session that has no connection yet."""
    async with shop.sessions() as sessions, sessions() as session:

        async def read():
            async with sessions() as own:
                return await (own if cured else session).scalar(select(Item.name))

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            group.create_task(read())


@produces("sqlalchemy", "Session is already flushing")
async def tasks_write_through_one_session(shop, cured):
    """Two tasks flush the session they share, which has its connection."""
    async with shop.sessions() as sessions, sessions() as session:
        await session.scalar(select(1))

        async def add(name):
            async with sessions.begin() as own:
                writer = own if cured else session
                writer.add(Item(name=name))
                await writer.flush()

        async with asyncio.TaskGroup() as group:
            group.create_task(add("pear"))
            group.create_task(add("plum"))


@produces("sqlalchemy", "can't be called here; method")
async def a_block_ends_before_its_tasks(shop, cured):
    """A `gather` raises, its other task goes on, and the block closes the session under it."""

    async def refuse():
        raise LookupError("no such user")

    async with shop.sessions() as sessions:

        async def read():
            async with sessions() as session:
                await session.scalar(select(Item.name))

        if cured:
            with contextlib.suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(read())
                    group.create_task(refuse())
            return
        session = sessions()
        reading = asyncio.create_task(session.scalar(select(Item.name)))
        try:
            async with session:
                await asyncio.gather(reading, refuse())
        finally:
            await asyncio.wait({reading})
            reading.exception()
            await session.close()
