"""Texts of an object that its session, or the database, no longer holds."""

import contextlib

import pydantic
from sqlalchemy import delete, event, select, update
from sqlalchemy.exc import IntegrityError

from tests.errors.sqlalchemy.shop import APPLE, Item, Order
from tests.harness.errors import produces


async def deleted_elsewhere(sessions):
    """Another request deletes the stored item."""
    async with sessions.begin() as session:
        await session.execute(delete(Item).where(Item.id == APPLE))


@produces("sqlalchemy", "greenlet_spawn has not been called")
async def an_attribute_is_read_after_a_commit(shop, cured):
    """A commit expires what was loaded; reading it is a query that nobody awaits."""
    async with shop.sessions(expire_on_commit=not cured) as sessions, sessions() as session:
        item = await session.get_one(Item, APPLE)
        item.n += 1
        await session.commit()
        return item.n


@produces("sqlalchemy", "is not bound to a Session; attribute refresh operation cannot proceed")
async def an_attribute_is_read_after_the_block(shop, cured):
    """The commit at the block's end expires what was loaded, and the session is gone."""
    async with shop.sessions(expire_on_commit=not cured) as sessions:
        async with sessions.begin() as session:
            item = await session.get_one(Item, APPLE)
        return item.n


@produces("sqlalchemy", "row(s); 0 were matched")
async def an_object_is_changed_whose_row_is_gone(shop, cured):
    """The row was deleted between the read and the flush."""
    async with shop.sessions() as sessions, sessions() as session:
        item = await session.get_one(Item, APPLE)
        await deleted_elsewhere(sessions)
        if cured:
            change = update(Item).where(Item.id == APPLE).values(n=Item.n + 1)
            missing = await session.scalar(change.returning(Item.id)) is None
            assert missing
        else:
            item.n += 1
            await session.flush()


@produces("sqlalchemy", "Could not refresh instance")
async def an_object_is_refreshed_whose_row_is_gone(shop, cured):
    """The row was deleted between the read and the refresh."""
    async with shop.sessions() as sessions, sessions() as session:
        item = await session.get_one(Item, APPLE)
        await deleted_elsewhere(sessions)
        if cured:
            missing = await session.get(Item, APPLE, populate_existing=True) is None
            assert missing
        else:
            await session.refresh(item)


@produces("sqlalchemy", "has been deleted, or its row is otherwise not present")
async def an_expired_object_is_flushed_whose_row_is_gone(shop, cured):
    """The row of an expired object is loaded again by a flush, and is gone."""
    async with shop.sessions() as sessions, sessions() as session:
        item = await session.get_one(Item, APPLE)
        await session.rollback()
        await deleted_elsewhere(sessions)
        if cured:
            missing = await session.get(Item, APPLE, populate_existing=True) is None
            assert missing
        else:
            item.n = 3
            await session.flush()


@produces("sqlalchemy", "is not persistent within this Session")
async def an_object_of_another_session_is_refreshed(shop, cured):
    """An object from one session's block is refreshed in another session."""
    async with shop.sessions() as sessions:
        async with sessions() as session:
            item = await session.get_one(Item, APPLE)
        async with sessions() as another:
            if cured:
                item = await another.get_one(Item, item.id)
            await another.refresh(item)


@produces("sqlalchemy", "is not persisted")
async def an_object_is_deleted_that_was_never_stored(shop, cured):
    """`delete()` gets an object that was made here, not loaded."""
    async with shop.sessions() as sessions, sessions.begin() as session:
        await session.delete(await session.get_one(Item, APPLE) if cured else Item(id=APPLE))


@produces("sqlalchemy", "is already attached to session")
async def an_object_of_another_session_is_added(shop, cured):
    """An object is added to a session while another still holds it."""
    async with shop.sessions() as sessions, sessions() as session, sessions() as another:
        item = await session.get_one(Item, APPLE)
        if cured:
            item = await another.get_one(Item, item.id)
        another.add(item)
        await another.commit()


@produces("sqlalchemy", "conflicts with persistent instance")
async def a_second_object_gets_the_key_of_a_loaded_one(shop, cured):
    """A new object has the key of one that the session holds."""
    async with shop.sessions() as sessions, sessions() as session:
        loaded = await session.get_one(Item, APPLE)
        if cured:
            loaded.n = 3
        else:
            session.add(Item(id=APPLE, name="pear", n=3))
        with contextlib.nullcontext() if cured else contextlib.suppress(IntegrityError):
            await session.flush()


@produces("sqlalchemy", "UnmappedInstanceError: Class")
async def a_schema_is_added_instead_of_a_row(shop, cured):
    """The request's body is added to the session as it is."""

    class ItemIn(pydantic.BaseModel):
        name: str

    body = ItemIn(name="pear")
    async with shop.sessions() as sessions, sessions.begin() as session:
        session.add(Item(**body.model_dump()) if cured else body)


@produces("sqlalchemy", "raised as a result of Query-invoked autoflush")
async def a_query_flushes_a_pending_row(shop, cured):
    """A SELECT first writes what was added before it, and that fails."""
    async with shop.sessions() as sessions, sessions() as session:
        with contextlib.suppress(IntegrityError) if cured else contextlib.nullcontext():
            session.add(Item(name="apple"))
            if cured:
                await session.flush()
            await session.scalar(select(Item.name))


@produces("sqlalchemy", "within the execution stage of the flush process")
async def a_hook_adds_a_row_during_a_flush(shop, cured):
    """A model's `after_insert` hook adds an audit row to the session that is flushing."""
    async with shop.sessions() as sessions, sessions() as session:

        def audit(*_):
            session.add(Order())

        hook = (session.sync_session, "before_flush") if cured else (Item, "after_insert")
        event.listen(*hook, audit)
        try:
            session.add(Item(name="pear"))
            await session.commit()
        finally:
            event.remove(*hook, audit)
