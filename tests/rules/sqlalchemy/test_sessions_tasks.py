"""How the rule on sessions is known: sessions and tasks, and sessions within sessions."""

import asyncio
from contextlib import nullcontext

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, IllegalStateChangeError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tests.harness import confirms
from tests.observers.checkouts import checkouts
from tests.observers.locks import waiting
from tests.observers.waiting import turns
from tests.rules.sqlalchemy.test_sessions import Item, names, stored

RULE = "sqlalchemy/sessions"

LOCK = select(func.pg_advisory_xact_lock(1))


@confirms(RULE, "session-shared-by-tasks")
async def a_shared_session_may_answer_on_a_warm_pool(postgres):
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

    assert caught.group_contains(InvalidRequestError, match="concurrent operations are not perm")
    assert answers == ["a"] * 3


@confirms(RULE, "session-shared-by-tasks")
@pytest.mark.parametrize(
    ("method", "error", "message"),
    [
        ("flush", InvalidRequestError, "Session is already flushing"),
        ("commit", IllegalStateChangeError, "can't be called here"),
    ],
)
async def a_shared_session_may_raise_on_a_warm_pool(postgres, method, error, message):
    """Two tasks end their work at once, on a session that has its connection."""
    async with stored(postgres.asyncpg) as (_, sessions), sessions() as session:
        await session.scalar(select(1))
        session.add(Item(name="a"))
        calls = [getattr(session, method)() for _ in range(2)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)

        assert [str(each) for each in outcomes if type(each) is error and message in str(each)]


@confirms(RULE, "session-shared-by-tasks")
async def a_rollback_beside_a_statement_finds_the_connection_busy(postgres):
    """One task waits for a lock, another rolls the same session back."""
    async with stored(postgres.asyncpg) as (engine, sessions), sessions() as holder:
        await holder.execute(LOCK)
        session = sessions()
        task = asyncio.create_task(session.execute(LOCK))
        assert await waiting(engine)

        with pytest.raises(DBAPIError, match="another operation is in progress"):
            await session.rollback()
        await holder.rollback()
        await asyncio.wait({task})
        task.exception()
        await session.close()


@confirms(RULE, "session-shared-by-tasks")
async def one_tasks_commit_stores_anothers_half(postgres):
    """A task fails after its first write; a neighbour on the same session has committed that."""
    slots = asyncio.Semaphore(4)  # of the pool's five
    async with stored(postgres.asyncpg) as (_, sessions):

        async def run(tag, first, second):
            flushed, committed = asyncio.Event(), asyncio.Event()

            async def fails():
                async with first as session:
                    session.add(Item(name=f"half of {tag}"))
                    await session.flush()
                    flushed.set()
                    await committed.wait()
                    raise ValueError("the second write is never made")

            async def succeeds():
                async with second as session:
                    await flushed.wait()
                    session.add(Item(name=tag))
                    if tag == "shared":
                        await session.commit()
                committed.set()

            outcomes = await asyncio.gather(fails(), succeeds(), return_exceptions=True)
            assert [type(each) for each in outcomes] == [ValueError, type(None)]

        async with sessions() as session:
            await run("shared", nullcontext(session), nullcontext(session))
        async with slots, slots:
            await run("own", sessions.begin(), sessions.begin())

        assert await names(sessions) == ["half of shared", "shared", "own"]


@confirms(RULE, "session-shared-by-tasks")
async def a_semaphore_below_the_pool_leaves_a_connection(postgres):
    """Ten tasks with a session each take all of a pool of three, or two of it with two slots."""
    async with stored(postgres.asyncpg, pool_size=3, max_overflow=0) as (engine, sessions):

        async def peak(limit):
            slots, seen = asyncio.Semaphore(limit), []

            async def run(name):
                async with slots, sessions.begin() as session:
                    session.add(Item(name=name))
                    await session.flush()
                    seen.append(engine.pool.checkedout())
                    await turns()

            async with asyncio.TaskGroup() as group:
                for i in range(10):
                    group.create_task(run(f"{limit}, {i}"))
            return max(seen)

        assert await peak(10) == 3
        assert await peak(2) == 2
        assert len(await names(sessions)) == 20


async def export(sessions, holding):
    """A stream, written back through a second session."""
    async with sessions() as reader:
        statement = select(Item.id).execution_options(yield_per=1)
        async for _ in await reader.stream_scalars(statement):
            await holding()
            async with sessions.begin() as writer:
                await writer.scalar(select(1))


async def fan_out(sessions, holding, slots):
    """A session of its own, and three tasks that open theirs."""
    async with sessions.begin() as session:
        await session.scalar(select(1))
        await holding()

        async def ask():
            async with slots, sessions.begin() as own:
                await own.scalar(select(1))

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(ask())


@confirms(RULE, "session-inside-a-session")
@pytest.mark.parametrize("how", ["export", "fan out"])
async def as_many_nested_sessions_as_connections_wait_for_each_other(postgres, how):
    """Four requests on a pool of four, each with a connection, ask for another."""
    options = {"pool_size": 4, "max_overflow": 0, "pool_timeout": 0.2}
    async with stored(postgres.asyncpg, "a", **options) as (_, sessions):
        all_hold = asyncio.Barrier(4)
        extra = [asyncio.Semaphore(3)] if how == "fan out" else []
        request = fan_out if extra else export

        async with asyncio.timeout(9):
            outcomes = await asyncio.gather(
                *(request(sessions, all_hold.wait, *extra) for _ in range(4)),
                return_exceptions=True,
            )

        failed = [each for each in outcomes if each]
        # The first to give up frees a connection, which may save the others.
        assert failed
        assert ExceptionGroup("", failed).split(PoolTimeout)[1] is None


@confirms(RULE, "session-inside-a-session")
@pytest.mark.parametrize("how", ["export", "fan out"])
async def half_as_many_nested_sessions_as_connections_all_end(postgres, how):
    """Twenty of them under Semaphore(pool_size // 2): an export never even finds the pool full."""
    options = {"pool_size": 4, "max_overflow": 0, "pool_timeout": 9}
    async with stored(postgres.asyncpg, "a", "b", **options) as (engine, sessions):
        bound = asyncio.Semaphore(4 // 2)
        extra = [asyncio.Semaphore(3)] if how == "fan out" else []
        request = fan_out if extra else export

        async def bounded():
            async with bound:
                await request(sessions, turns, *extra)

        with checkouts(engine) as seen:
            await asyncio.gather(*(bounded() for _ in range(20)))

        assert seen.in_use == 0
        assert how == "fan out" or seen.queued == 0


@confirms(RULE, "session-inside-a-session")
async def an_inner_block_that_takes_the_semaphore_too_hangs(postgres):
    """Both that hold it wait for it, and half of the pool is free: there is no timeout for that."""
    options = {"pool_size": 4, "max_overflow": 0, "pool_timeout": 0.2}
    async with stored(postgres.asyncpg, "a", **options) as (engine, sessions):
        bound, both = asyncio.Semaphore(4 // 2), asyncio.Barrier(3)

        async def nested():
            async with bound, sessions.begin() as session:
                await session.scalar(select(1))
                await both.wait()
                async with bound, sessions.begin() as inner:
                    await inner.scalar(select(1))

        tasks = [asyncio.create_task(nested()) for _ in range(2)]
        await both.wait()
        _, hanging = await asyncio.wait(tasks, timeout=2 * options["pool_timeout"])
        held = engine.pool.checkedout()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

        assert (len(hanging), held) == (2, 2)


@confirms(RULE, "session-inside-a-session")
async def a_third_level_exhausts_the_pool_again(postgres):
    """Two under Semaphore(4 // 2), each with two connections of four, ask for a third."""
    options = {"pool_size": 4, "max_overflow": 0, "pool_timeout": 0.2}
    async with stored(postgres.asyncpg, "a", **options) as (_, sessions):
        bound, both = asyncio.Semaphore(4 // 2), asyncio.Barrier(2)

        async def three_levels():
            async with bound, sessions.begin() as session, sessions.begin() as inner:
                await session.scalar(select(1))
                await inner.scalar(select(1))
                await both.wait()
                async with sessions.begin() as third:
                    await third.scalar(select(1))

        calls = [three_levels() for _ in range(2)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)

        assert PoolTimeout in {type(each) for each in outcomes}
