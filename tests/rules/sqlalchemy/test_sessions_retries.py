"""How the rule on sessions is known: what may be repeated, and when."""

import asyncio

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import DBAPIError

from tests.harness import confirms
from tests.observers.waiting import reached
from tests.rules.sqlalchemy.test_sessions import Item, names, stored

RULE = "sqlalchemy/sessions"


@confirms(RULE, "retry-inside-the-transaction")
async def a_serialization_failure_ends_the_session_for_every_statement(postgres):
    """40001 arrives as plain DBAPIError; only a new transaction that reads again succeeds."""
    options = {"isolation_level": "REPEATABLE READ"}
    async with stored(postgres.asyncpg, "a", **options) as (_, sessions):
        bump = update(Item).values(n=Item.n + 1)
        seen = []
        async with sessions() as session:
            await session.scalar(select(Item.n))
            async with sessions.begin() as other:
                await other.execute(bump)
            for _ in range(2):
                with pytest.raises(DBAPIError) as caught:
                    async with session.begin_nested():
                        await session.execute(bump)
                seen.append((type(caught.value), caught.value.orig.sqlstate))
            for _ in range(2):
                with pytest.raises(DBAPIError) as caught:
                    await session.execute(bump)
                seen.append((type(caught.value), caught.value.orig.sqlstate))
        async with sessions.begin() as session:
            await session.execute(bump)
        async with sessions() as session:
            stored_value = await session.scalar(select(Item.n))

        codes = ["40001", "40001", "40001", "25P02"]  # the last: in_failed_sql_transaction
        assert seen == [(DBAPIError, code) for code in codes]
        assert stored_value == 2


@confirms(RULE, "retry-inside-the-transaction")
async def a_deadlock_arrives_as_plain_dbapierror(postgres):
    """Two units of work that lock in opposite order: one of them fails with 40P01."""
    settings = {"server_settings": {"deadlock_timeout": "50ms"}}
    async with stored(postgres.asyncpg, "a", "b", connect_args=settings) as (_, sessions):
        both = asyncio.Barrier(2)

        async def lock(first, second):
            async with sessions.begin() as session:
                await session.get(Item, first, with_for_update=True)
                await both.wait()
                try:
                    await session.get(Item, second, with_for_update=True)
                except DBAPIError:
                    with pytest.raises(DBAPIError, match="aborted"):
                        await session.execute(insert(Item).values(name="next"))
                    raise

        outcomes = await asyncio.gather(lock(1, 2), lock(2, 1), return_exceptions=True)

    [error] = [outcome for outcome in outcomes if outcome is not None]
    assert type(error) is DBAPIError
    assert error.orig.sqlstate == "40P01"


@confirms(RULE, "cancelled-commit")
@pytest.mark.parametrize("how", ["commit", "begin"])
async def a_cancelled_commit_has_stored_the_row(postgres, how):
    """A task cancelled while it awaits the answer to COMMIT ends cancelled; the row is there."""
    async with stored(postgres.asyncpg) as (_, sessions):

        async def cancel_the_commit_of(name):
            flushed = asyncio.Event()

            async def work():
                async with sessions() if how == "commit" else sessions.begin() as session:
                    session.add(Item(name=name))
                    await session.flush()
                    flushed.set()
                    if how == "commit":
                        await session.commit()
                    # Either way COMMIT is sent before the task waits for the first time.

            task = asyncio.create_task(work())
            await reached(flushed, task)
            task.cancel()
            await asyncio.wait({task})
            return task.cancelled()

        # The server may see the cancel first, so a few attempts: once is enough for "may".
        cancelled = [f"row {i}" for i in range(5) if await cancel_the_commit_of(f"row {i}")]

        assert set(cancelled) & set(await names(sessions))
