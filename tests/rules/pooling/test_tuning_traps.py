"""What pooling/tuning says about limits, gauges, leaks and retries."""

import asyncio
import os
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import greenlet
import pytest
import sqlalchemy
from prometheus_client import CollectorRegistry
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from tests.harness import confirms, correct
from tests.observers.checkouts import checkouts
from tests.observers.waiting import until

RULE = "pooling/tuning"


@asynccontextmanager
async def engine_of(url: object, size: int = 1, **options: object) -> AsyncIterator[AsyncEngine]:
    """A small engine without overflow, unless the options say otherwise."""
    engine = create_async_engine(url, **{"pool_size": size, "max_overflow": 0} | options)
    try:
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def deployed(postgres, **options: object) -> AsyncIterator[list[AsyncEngine]]:
    """Four processes, two of them old, of a role that may open five connections."""
    role = f"{make_url(postgres.url).database}_app"
    postgres.execute(f"DROP ROLE IF EXISTS {role}")
    postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'app' CONNECTION LIMIT 5")
    url = make_url(postgres.asyncpg).set(username=role, password="app")  # noqa: S106
    try:
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(engine_of(url, pool_timeout=0.05, **options))
                for _ in range(4)
            ]
    finally:
        postgres.execute(f"DROP ROLE {role}")


async def refusals(engines: list[AsyncEngine], each: int) -> list[Exception]:
    """The errors when every process is asked for connections and gives none back."""
    errors = []
    async with AsyncExitStack() as held:
        for engine in engines * each:
            try:
                await held.enter_async_context(engine.connect())
            except (DBAPIError, PoolTimeout, asyncpg.PostgresError) as error:
                errors.append(error)
    return errors


@confirms(RULE, "fleet-at-deploy-peak")
async def processes_that_fit_one_by_one_exceed_the_limit_together(postgres):
    """With an overflow of one each, the sixth connection fails; within the share all queue."""
    async with deployed(postgres, max_overflow=1) as engines:
        beyond = await refusals(engines, 2)
    async with deployed(postgres) as engines:
        within = await refusals(engines, 2)

    assert [getattr(error, "orig", error).sqlstate for error in beyond] == ["53300"] * 3
    assert [type(error) for error in within] == [PoolTimeout] * 4


@confirms(RULE, "failed-connects-on-2-0")
async def a_failed_connect_is_wrapped_since_2_1(postgres):
    """On 2.0 it is asyncpg's own error, past every `except DBAPIError`."""
    async with deployed(postgres, max_overflow=1) as engines:
        errors = await refusals(engines, 2)
    wrapped = not sqlalchemy.__version__.startswith("2.0.")

    assert len(errors) == 3
    assert all(isinstance(each, DBAPIError) is wrapped for each in errors)
    assert all(isinstance(each, asyncpg.PostgresError) is not wrapped for each in errors)


@confirms(RULE, "connection-held-across-a-call")
async def a_pool_of_two_makes_two_calls_at_once(postgres):
    """Six requests call while they hold a connection: two at a time; released, all six."""
    calling, together = 0, asyncio.Event()

    async def call() -> None:
        nonlocal calling
        calling += 1
        await together.wait()

    async def held(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT 1"))
            await call()

    async def released(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT 1"))
        await call()

    async def most_calls(handler) -> int:
        nonlocal calling
        calling = 0
        together.clear()
        async with engine_of(postgres.asyncpg, 2) as engine, asyncio.TaskGroup() as group:
            with checkouts(engine) as seen:
                for _ in range(6):
                    group.create_task(handler(engine))
                assert await until(
                    lambda: calling in (6, seen.in_use) and calling + seen.waiting == 6
                )
                most = calling
            together.set()
        return most

    assert await most_calls(held) == 2
    assert await most_calls(released) == 6


@confirms(RULE, "checkout-to-checkin")
async def three_that_wait_for_one_add_to_the_wait_only(postgres):
    """The hold is what one connection was out; the wait is that of each of the three."""
    registry, loop = CollectorRegistry(), asyncio.get_running_loop()
    make_engine = correct(RULE, "export-the-wait").make_engine
    engine = make_engine(postgres.asyncpg, registry, pool_size=1, max_overflow=0)
    waited = 0.0

    async def waiter() -> None:
        nonlocal waited
        start = loop.time()
        async with engine.connect():
            waited += loop.time() - start

    async with engine.connect():
        pass
    await engine.dispose()  # the metrics survive it
    try:
        async with asyncio.TaskGroup() as group, engine.connect():
            for _ in range(3):
                group.create_task(waiter())
            await asyncio.sleep(0.1)
    finally:
        await engine.dispose()
    wait = registry.get_sample_value("db_pool_wait_seconds_sum")
    hold = registry.get_sample_value("db_pool_hold_seconds_sum")

    assert registry.get_sample_value("db_pool_hold_seconds_count") == 5
    assert registry.get_sample_value("db_pool_wait_seconds_count") == 5
    assert wait > waited * 0.7
    assert wait > hold * 2
    assert registry.get_sample_value("db_pool_waiting") == 0


@confirms(RULE, "checkout-to-checkin")
async def a_connection_that_dies_or_was_never_got_leaves_no_trace_in_the_gauge(postgres):
    """After a killed backend, and a pool that cannot connect, nothing counts as in use."""
    registry = CollectorRegistry()
    make_engine = correct(RULE, "export-the-wait").make_engine
    engine = make_engine(postgres.asyncpg, registry, pool_size=1, pool_pre_ping=True)
    kill = "SELECT pg_terminate_backend(pg_backend_pid())"
    try:
        async with engine.connect() as connection:
            with pytest.raises(DBAPIError):
                await connection.execute(text(kill))
        assert registry.get_sample_value("db_pool_in_use") == 0
        async with engine.connect():
            assert registry.get_sample_value("db_pool_in_use") == 1

        @event.listens_for(engine.sync_engine, "checkout")
        def refuse(*_: object) -> None:
            raise ConnectionRefusedError

        with pytest.raises(ConnectionRefusedError):
            await engine.connect()
        assert registry.get_sample_value("db_pool_in_use") == 0
    finally:
        await engine.dispose()


EXPORT = """
import prometheus_client as prometheus
from prometheus_client.multiprocess import MultiProcessCollector
live = {"multiprocess_mode": "livesum"}
prometheus.Gauge("by_callback", "x", **live).set_function(lambda: 7)
prometheus.Gauge("by_hand", "x", **live).inc(7)
registry = prometheus.CollectorRegistry()
MultiProcessCollector(registry)
for name in ("by_callback", "by_hand"):
    print(registry.get_sample_value(name))
"""


@confirms(RULE, "gauges-by-callback")
def a_callback_is_exported_as_zero_by_several_processes(tmp_path):
    """In multiprocess mode the callback is accepted, and never called."""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-c", EXPORT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["0.0", "7.0"]


@confirms(RULE, "gauges-by-callback")
async def a_pool_kept_from_before_a_dispose_counts_nothing(postgres):
    """dispose() gives the engine another pool, so a callback that kept the first one reads 0."""
    async with engine_of(postgres.asyncpg) as engine:
        kept = engine.pool
        async with engine.connect():
            assert kept.checkedout() == 1
        await engine.dispose()
        async with engine.connect():
            assert (kept.checkedout(), engine.pool.checkedout()) == (0, 1)


@confirms(RULE, "gauges-by-callback")
async def no_idle_connection_is_not_no_free_slot(postgres):
    """Of ten slots three are taken, and get_idle_size() is 0."""
    async with (
        asyncpg.create_pool(postgres.url, min_size=1, max_size=10) as pool,
        pool.acquire(),
        pool.acquire(),
        pool.acquire(),
    ):
        idle, taken = pool.get_idle_size(), pool.get_size()

    assert (idle, taken) == (0, 3)


@confirms(RULE, "leaked-connections")
async def the_stack_kept_at_checkout_names_the_leak(postgres):
    """The error of the next request does not; nor does the stack inside SQLAlchemy's greenlet."""
    kept, inner = {}, {}
    sessions = async_sessionmaker()

    async def forgetful_report() -> object:
        session = sessions()
        await session.execute(text("SELECT 1"))
        return session

    async with engine_of(postgres.asyncpg, pool_timeout=0.05) as engine:
        sessions.configure(bind=engine)

        @event.listens_for(engine.sync_engine, "checkout")
        def checkout(_: object, entry: object, proxy: object) -> None:
            kept[entry] = traceback.extract_stack(greenlet.getcurrent().parent.gr_frame)
            inner[entry] = traceback.extract_stack()

        @event.listens_for(engine.sync_engine, "checkin")
        def checkin(_: object, entry: object) -> None:
            kept.pop(entry)

        async with engine.connect():
            assert len(kept) == 1
        assert not kept
        with checkouts(engine) as seen:
            session = await forgetful_report()
            with pytest.raises(PoolTimeout) as error:
                await engine.connect()
            [where] = seen.held.values()
            [stack], [within] = kept.values(), inner.values()
            await session.close()

    assert "in forgetful_report" in where
    assert "forgetful_report" in [frame.name for frame in stack]
    assert "forgetful_report" not in str(error.value)
    assert "forgetful_report" not in [frame.name for frame in within]
