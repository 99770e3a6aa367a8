"""How the rule on sessions is known: traps of tests, and what differs by version."""

import pytest
import sqlalchemy
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, InvalidRequestError, MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from tests.harness import confirms
from tests.rules.sqlalchemy.test_sessions import Item, names, stored

RULE = "sqlalchemy/sessions"

ON_21 = tuple(map(int, sqlalchemy.__version__.split(".")[:2])) >= (2, 1)


@confirms(RULE, "test-session-without-a-savepoint")
@pytest.mark.parametrize(
    ("options", "seen"), [({}, []), ({"join_transaction_mode": "create_savepoint"}, ["kept"])]
)
async def a_rollback_undoes_the_applications_own_commit(postgres, options, seen):
    """Under a test's outer transaction the code commits, conflicts, rolls back and looks."""
    async with stored(postgres.asyncpg) as (engine, sessions):
        async with engine.connect() as connection:
            outer = await connection.begin()
            async with AsyncSession(connection, expire_on_commit=False, **options) as session:
                session.add(Item(name="kept"))
                await session.commit()
                session.add(Item(name="kept"))
                with pytest.raises(IntegrityError):
                    await session.commit()
                await session.rollback()
                found = list(await session.scalars(select(Item.name)))
            if outer.is_active:
                await outer.rollback()

        assert found == seen
        assert await names(sessions) == []


@confirms(RULE, "test-session-without-a-savepoint")
@pytest.mark.parametrize(("options", "seen"), [({}, None), ({"expire_on_commit": False}, "kept")])
async def code_that_reads_after_its_commit_needs_the_factorys_setting(postgres, options, seen):
    """Without expire_on_commit=False code that is right in production raises in its test."""
    options = options | {"join_transaction_mode": "create_savepoint"}
    async with stored(postgres.asyncpg) as (engine, _), engine.connect() as connection:
        outer = await connection.begin()
        async with AsyncSession(connection, **options) as session:
            session.add(item := Item(name="kept"))
            await session.commit()
            try:
                read = item.name
            except MissingGreenlet:
                read = None
        await outer.rollback()

    assert read == seen


@confirms(RULE, "plain-url-on-2-1")
def a_url_without_a_driver_means_psycopg():
    """create_async_engine takes it on 2.1; on 2.0 it asks for psycopg2 and refuses."""
    url = "postgresql://user@host/name"

    assert create_async_engine("postgresql+asyncpg://user@host/name").dialect.driver == "asyncpg"
    if ON_21:
        assert create_async_engine(url).dialect.driver == "psycopg"
    else:
        with pytest.raises((ModuleNotFoundError, InvalidRequestError)):
            create_async_engine(url)
