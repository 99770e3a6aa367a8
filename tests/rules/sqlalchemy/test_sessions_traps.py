"""How the rule on sessions is known: traps of transactions, tasks and locks."""

import asyncio

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from tests.harness import confirms, correct
from tests.observers.locks import waiting
from tests.observers.waiting import reached, turns
from tests.rules.sqlalchemy.test_sessions import Item, names, stored

RULE = "sqlalchemy/sessions"
CONFLICT = "catch-a-conflict-around-a-savepoint"


@confirms(RULE, "session-shared-by-tasks")
async def a_shared_session_is_refused_on_a_cold_pool_only(postgres):
    """Three tasks on one session: an ExceptionGroup, or answers when the pool is warm."""
    async with stored(postgres.asyncpg, "a") as (_, sessions):

        async def fan_out(session):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(session.scalar(select(Item.name))) for _ in range(3)]
            return [task.result() for task in tasks]

        async with sessions() as session:
            with pytest.raises(ExceptionGroup) as caught:
                await fan_out(session)
        async with sessions() as session:
            await session.scalar(select(Item.name))
        async with sessions() as session:
            answers = await fan_out(session)

    assert caught.group_contains(InvalidRequestError)
    assert answers == ["a"] * 3


@confirms(RULE, "session-shared-by-tasks")
async def one_tasks_commit_stores_anothers_half(postgres):
    """A task rolls back what it wrote; a neighbour on the same session has committed it."""
    async with stored(postgres.asyncpg) as (_, sessions):

        async def run(tag, first, second):
            flushed, committed = asyncio.Event(), asyncio.Event()

            async def gives_up():
                first.add(Item(name=f"half of {tag}"))
                await first.flush()
                flushed.set()
                await committed.wait()
                await first.rollback()

            async def commits():
                await flushed.wait()
                second.add(Item(name=tag))
                await second.commit()
                committed.set()

            async with asyncio.TaskGroup() as group:
                group.create_task(gives_up())
                group.create_task(commits())

        async with sessions() as session:
            await run("shared", session, session)
        async with sessions() as first, sessions() as second:
            await run("own", first, second)

        assert await names(sessions) == ["half of shared", "shared", "own"]


@confirms(RULE, "session-shared-by-tasks")
async def a_semaphore_below_the_pool_leaves_a_connection(postgres):
    """Ten tasks with a session each take all of a pool of three, or two of it with two slots."""
    async with stored(postgres.asyncpg, pool_size=3, max_overflow=0) as (engine, sessions):

        async def peak(slots):
            seen = []

            async def run():
                async with slots, sessions() as session:
                    await session.scalar(select(1))
                    seen.append(engine.pool.checkedout())
                    await turns()

            async with asyncio.TaskGroup() as group:
                for _ in range(10):
                    group.create_task(run())
            return max(seen)

        assert await peak(asyncio.Semaphore(10)) == 3
        assert await peak(asyncio.Semaphore(2)) == 2


@confirms(RULE, "commit-in-a-repository")
async def what_a_repository_committed_outlives_the_failed_use_case(postgres):
    """The rule's repository takes part in the caller's rollback; with a commit() it would not."""
    async with stored(postgres.asyncpg, "old", "gone") as (_, sessions):

        async def use_case(end_of_step):
            async with sessions.begin() as session:
                items = correct(RULE, CONFLICT).Repository(session, Item)
                assert await items.add(Item(name=f"new, {end_of_step}"))
                await items.delete(await items.get(2))
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


@confirms(RULE, "retry-inside-the-transaction")
async def a_serialization_failure_ends_the_session_for_every_statement(postgres):
    """40001 arrives as plain DBAPIError; only a new transaction that reads again succeeds."""
    options = {"isolation_level": "REPEATABLE READ"}
    async with stored(postgres.asyncpg, "a", **options) as (_, sessions):
        bump = update(Item).values(n=Item.n + 1)
        async with sessions() as session:
            await session.scalar(select(Item.n))
            async with sessions.begin() as other:
                await other.execute(bump)
            with pytest.raises(DBAPIError) as caught:
                await session.execute(bump)
            with pytest.raises(DBAPIError) as again:
                await session.execute(bump)
        async with sessions.begin() as session:
            await session.execute(bump)
        async with sessions() as session:
            stored_value = await session.scalar(select(Item.n))

        assert type(caught.value) is DBAPIError
        assert caught.value.orig.sqlstate == "40001"
        assert again.value.orig.sqlstate == "25P02"  # in_failed_sql_transaction
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
                await session.get(Item, second, with_for_update=True)

        outcomes = await asyncio.gather(lock(1, 2), lock(2, 1), return_exceptions=True)

    [error] = [outcome for outcome in outcomes if outcome is not None]
    assert type(error) is DBAPIError
    assert error.orig.sqlstate == "40P01"


@confirms(RULE, "cancelled-commit")
async def a_cancelled_commit_has_stored_the_row(postgres):
    """A task cancelled while it awaits the answer to COMMIT ends cancelled; the row is there."""
    async with stored(postgres.asyncpg) as (_, sessions):

        async def cancel_the_commit_of(name):
            flushed = asyncio.Event()

            async def work():
                async with sessions() as session:
                    session.add(Item(name=name))
                    await session.flush()
                    flushed.set()
                    await session.commit()  # sends COMMIT before it waits for the first time

            task = asyncio.create_task(work())
            await reached(flushed, task)
            task.cancel()
            await asyncio.wait({task})
            return task.cancelled()

        # The server may see the cancel first, so a few attempts: once is enough for "may".
        cancelled = [f"row {i}" for i in range(5) if await cancel_the_commit_of(f"row {i}")]

        assert set(cancelled) & set(await names(sessions))
