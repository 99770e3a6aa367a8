"""What pooling/tuning says about its metrics: what is wait, what is hold, what stays behind."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from inspect import signature
from urllib.parse import urlsplit

import greenlet
import pytest
import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from sqlalchemy import event, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from tests.harness import ROOT, confirms, correct
from tests.observers.canceller import each_point
from tests.observers.checkouts import checkouts
from tests.observers.waiting import until

RULE = "pooling/tuning"


class Line:
    """A TCP line to a server: `open` lets bytes pass, `delay` is how late they reach the server."""

    def __init__(self, port: int) -> None:
        self.port, self.delay, self.open = port, 0.0, asyncio.Event()
        self.open.set()


@asynccontextmanager
async def line_to(url: str) -> AsyncIterator[Line]:
    """A line to the database on a port of its own, which `line.port` tells."""
    target, tasks = urlsplit(url), set()

    async def copy(source: asyncio.StreamReader, to: asyncio.StreamWriter, late: bool) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await asyncio.sleep(line.delay if late else 0)
                await line.open.wait()
                to.write(data)
        to.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source, to = await asyncio.open_connection(target.hostname, target.port)
        for each in (copy(reader, to, True), copy(source, writer, False)):
            tasks.add(asyncio.create_task(each))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    line = Line(server.sockets[0].getsockname()[1])
    try:
        yield line
    finally:
        server.close()
        line.open.set()
        await asyncio.wait(tasks, timeout=5)


@asynccontextmanager
async def measured(
    url: object, port: int | None = None, **options: object
) -> AsyncIterator[tuple[AsyncEngine, CollectorRegistry]]:
    """The correct half's engine, without overflow, and the registry it counts in."""
    registry = CollectorRegistry()
    url = make_url(url) if port is None else make_url(url).set(host="127.0.0.1", port=port)
    make_engine = correct(RULE, "export-the-wait").make_engine
    engine = make_engine(url, registry, **{"pool_size": 1, "max_overflow": 0} | options)
    try:
        yield engine, registry
    finally:
        await engine.dispose()


def now(registry: CollectorRegistry) -> tuple[float, float]:
    """How many connections are in use, and how many requests wait for one."""
    return tuple(registry.get_sample_value(f"db_pool_{each}") for each in ("in_use", "waiting"))


async def used(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


@confirms(RULE, "checkout-to-checkin")
async def a_ping_that_hangs_is_hold_and_not_wait(postgres):
    """The `checkout` event comes after it, and `connect()` has not returned."""
    async with (
        line_to(postgres.url) as line,
        measured(postgres.asyncpg, line.port, pool_pre_ping=True) as (engine, registry),
    ):
        await used(engine)
        with checkouts(engine) as seen:
            line.open.clear()
            using = asyncio.create_task(used(engine))
            assert await until(lambda: now(registry) == (1, 0))
            counted = seen.in_use
            line.open.set()
            await using
        left = now(registry)

    assert (counted, seen.taken) == (0, 1)
    assert left == (0, 0)


@confirms(RULE, "checkout-to-checkin")
async def a_new_connection_that_is_slow_to_open_is_wait(postgres):
    """Nothing is in use meanwhile, by which it can be told from a pool that is full."""
    async with (
        line_to(postgres.url) as line,
        measured(postgres.asyncpg, line.port) as (engine, registry),
    ):
        line.open.clear()
        using = asyncio.create_task(used(engine))
        opening = await until(lambda: now(registry) == (0, 1))
        line.open.set()
        await using

    assert opening


@confirms(RULE, "checkout-to-checkin")
async def a_size_from_the_hold_without_the_ping_is_too_small(postgres):
    """On a slow link the ping takes about as long as the query."""
    pool_size = correct(RULE, "size-from-rate-and-hold").pool_size
    async with (
        line_to(postgres.url) as line,
        measured(postgres.asyncpg, line.port, pool_pre_ping=True) as (engine, registry),
    ):
        await used(engine)
        before = registry.get_sample_value("db_pool_hold_seconds_sum")
        line.delay = 0.01
        with checkouts(engine) as seen:
            for _ in range(8):
                await used(engine)
        whole = registry.get_sample_value("db_pool_hold_seconds_sum") - before

    rate = 20 * 8 / whole  # so that 20 are busy
    assert pool_size(rate, sum(seen.holds) / 8, 99) < 0.8 * pool_size(rate, whole / 8, 99)


@confirms(RULE, "checkout-to-checkin")
async def a_checkout_cancelled_anywhere_leaves_the_gauges_at_zero(postgres):
    """In the queue, in the ping, in the query, on the way back."""
    async with measured(postgres.asyncpg, pool_pre_ping=True) as (engine, registry):
        assert isinstance(engine.pool, AsyncAdaptedQueuePool)
        await used(engine)
        left = set()
        async for _ in each_point(lambda: used(engine)):
            await until(lambda: engine.pool.checkedout() == 0)
            left.add(now(registry))
            await used(engine)

    assert left == {(0, 0)}


@confirms(RULE, "checkout-to-checkin")
async def a_request_that_gives_up_waiting_is_no_longer_counted(postgres):
    """Cancelled in the queue, or refused after `pool_timeout`."""
    async with measured(postgres.asyncpg, pool_timeout=60) as (engine, registry):
        async with engine.connect():
            waiter = asyncio.create_task(used(engine))
            assert await until(lambda: now(registry) == (1, 1))
            waiter.cancel()
            await asyncio.wait({waiter})
            assert now(registry) == (1, 0)

        assert now(registry) == (0, 0)


@confirms(RULE, "leaked-connections")
async def a_leak_that_was_collected_is_reported_by_detach(postgres):
    """No `checkin` comes for it; the gauge is right again, and the stack names the leak."""
    kept, reported = {}, []
    async with measured(postgres.asyncpg) as (engine, registry):

        @event.listens_for(engine.sync_engine, "checkout")
        def checkout(_: object, entry: object, proxy: object) -> None:
            kept[entry] = traceback.extract_stack(greenlet.getcurrent().parent.gr_frame)

        @event.listens_for(engine.sync_engine, "checkin")
        def checkin(_: object, entry: object) -> None:
            kept.pop(entry)

        @event.listens_for(engine.sync_engine, "detach")
        def detach(_: object, entry: object) -> None:
            reported.extend(frame.name for frame in kept.pop(entry))

        async def forgetful_report() -> None:
            connection = await engine.connect()
            await connection.execute(text("SELECT 1"))
            assert now(registry) == (1, 0)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            await forgetful_report()
            gc.collect()
        assert engine.pool.checkedout() == 0
        assert now(registry) == (0, 0)
        await used(engine)

    assert "forgetful_report" in reported
    assert not kept


KILLED = """
import asyncio, os, signal, sys
from prometheus_client import REGISTRY
from tests.harness import correct

async def main():
    engine = correct("pooling/tuning", "export-the-wait").make_engine(sys.argv[1], REGISTRY)
    held = [await engine.connect() for _ in range(3)]
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.slow
@confirms(RULE, "gauges-of-a-killed-worker")
def test_a_killed_worker_holds_connections_until_it_is_marked_dead(postgres, tmp_path, monkeypatch):
    """The file it counted in stays, and so do its three connections."""
    folder = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED, postgres.asyncpg]
    worker = subprocess.Popen(command, env=os.environ | folder, cwd=ROOT)
    assert worker.wait(30) == -signal.SIGKILL
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))
    killed = registry.get_sample_value("db_pool_in_use")

    mark_process_dead(worker.pid, path=str(tmp_path))

    assert killed == 3
    assert registry.get_sample_value("db_pool_in_use") is None


@confirms(RULE, "gauges-of-a-killed-worker")
def test_only_gunicorn_tells_that_a_worker_has_ended():
    """Its setting is a function that gets the worker; uvicorn has no setting of the kind."""
    settings = pytest.importorskip("gunicorn.config").KNOWN_SETTINGS
    hooks = [name for name in signature(uvicorn.Config).parameters if "exit" in name]

    assert "child_exit" in [each.name for each in settings]
    assert not hooks
