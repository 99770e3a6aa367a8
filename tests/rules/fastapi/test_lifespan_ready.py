"""Proofs of the readiness in rules/fastapi/lifespan.md: how it answers, and at what cost."""

import asyncio
import gc
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.harness import confirms, correct, proves
from tests.observers.asgi import request
from tests.observers.silenced import Silenced
from tests.observers.waiting import reached, turns, until

PAGE = "fastapi/lifespan"
PAIR = "readiness-that-answers"
DSN = "postgresql://app:hunter2@db/app"
SHORT = 0.03


def service(half, *checks) -> tuple[FastAPI, dict[str, object]]:
    """An application with the half's probes, and the state its lifespan would yield."""
    app = FastAPI()
    app.include_router(half.router)
    return app, {"checks": list(checks)}


async def status(app, state, path="/readyz") -> int:
    """What a probe is answered."""
    exchange = await request(app, path, state=state)
    assert exchange.error is None
    return exchange.status


@proves(PAGE, PAIR)
async def a_faulty_dependency_spoils_the_probes(half):
    """A dependency that fails, then hangs, is hidden, disclosed or waited for; a drain unseen."""
    condition, cache_checks, released = "up", 0, asyncio.Event()

    async def database():
        if condition == "down":
            raise OSError(f"cannot connect to {DSN}")
        if condition == "silent":
            try:
                await asyncio.Event().wait()
            finally:
                await released.wait()  # a driver's cleanup, which a timeout waits for

    async def cache():
        nonlocal cache_checks
        cache_checks += 1

    half.LIMIT = 5  # short only in the silence: a busy machine may take a while to answer
    app, checks = service(half, database, cache)
    for app.state.ready in (True, False):
        assert await status(app, checks, "/livez") == 200
    drained = await status(app, checks)
    app.state.ready = True
    assert await status(app, checks) == 200
    assert cache_checks > 0
    symptoms = {"drain"} if drained == 200 else set()
    assert drained in (200, 503)

    condition = "down"
    down = await request(app, "/readyz", state=checks)
    symptoms |= {"200"} if down.status == 200 else set()
    symptoms |= {"secret"} if b"hunter2" in down.body else set()
    assert down.status in (200, 503)

    condition, half.LIMIT = "silent", SHORT
    probes = {
        path: asyncio.create_task(request(app, path, state=checks))
        for path in ("/livez", "/readyz")
    }
    await asyncio.wait(probes.values(), timeout=0.3)
    await turns(20)  # should both timers be late, as on a busy machine
    symptoms |= {path for path, probe in probes.items() if not probe.done()}
    if probes["/readyz"].done():
        assert probes["/readyz"].result().status == 503

    condition, half.LIMIT = "up", 5
    released.set()
    for probe in probes.values():
        probe.cancel()
    await asyncio.wait(probes.values())
    await turns(20)
    assert await status(app, checks) == 200
    assert symptoms in (set(), {"drain", "200", "secret", "/livez", "/readyz"})
    return bool(symptoms)


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
@confirms(PAGE, "probes-that-hang")
async def probes_answer_where_the_lifespan_gave_nothing_to_check(path):
    """No checks, and no drain that sets a flag: ready."""
    app, state = service(correct(PAGE, PAIR))

    assert await status(app, state, path) == 200


@confirms(PAGE, "probes-that-hang")
async def a_check_that_ends_cancelled_is_a_503():
    """Not a success, and not the end of the request."""

    async def cancelled() -> None:
        raise asyncio.CancelledError

    app, state = service(correct(PAGE, PAIR), cancelled)

    assert await status(app, state) == 503


@confirms(PAGE, "probes-that-hang")
async def a_flood_of_probes_is_one_run_of_the_checks():
    """Two hundred probes wait for one check, and all get its answer; the next one starts anew."""
    started, gate = 0, asyncio.Event()

    async def check() -> None:
        nonlocal started
        started += 1
        await gate.wait()

    half = correct(PAGE, PAIR)
    half.LIMIT = 5
    app, state = service(half, check)
    probes = [asyncio.create_task(status(app, state)) for _ in range(200)]
    assert await until(lambda: started > 0)
    await turns(50)
    gate.set()
    answers = [await probe for probe in probes]
    in_the_flood = started
    await status(app, state)

    assert (set(answers), in_the_flood, started) == ({200}, 1, 2)


@confirms(PAGE, "probes-that-hang")
async def a_probe_is_not_confused_by_the_run_of_the_next():
    """A second probe starts the next run before the first has read that its own succeeded."""
    gates, probes = [asyncio.Event(), asyncio.Event()], []
    runs = iter(gates)

    async def check() -> None:
        await next(runs).wait()
        if len(probes) == 1:  # its first step comes before the first probe wakes up
            probes.append(asyncio.create_task(status(app, state)))

    half = correct(PAGE, PAIR)
    half.LIMIT = 5
    app, state = service(half, check)
    probes.append(asyncio.create_task(status(app, state)))
    await turns()
    gates[0].set()

    assert await probes[0] == 200
    assert not probes[1].done()
    gates[1].set()
    assert await probes[1] == 200


@confirms(PAGE, "probes-that-hang")
async def a_probe_that_leaves_does_not_stop_the_run_or_lose_it():
    """Its check goes on, held by the application, and the next probe waits for the same one."""
    started, gate, running = 0, asyncio.Event(), asyncio.Event()

    async def check() -> None:
        nonlocal started
        started += 1
        running.set()
        await gate.wait()

    half = correct(PAGE, PAIR)
    half.LIMIT = 5
    app, state = service(half, check)
    gone = asyncio.create_task(status(app, state))
    await reached(running, gone)
    gone.cancel()
    await asyncio.wait({gone})
    gc.collect()
    probe = asyncio.create_task(status(app, state))
    await turns()
    gate.set()

    assert await probe == 200
    assert started == 1


@pytest.mark.filterwarnings("ignore")  # the driver leaves its attempt to cancel behind
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
@confirms(PAGE, "probes-that-hang")
async def probes_of_a_silent_database_take_one_connection(postgres, driver):
    """However many are answered 503, one check holds one connection of the pool."""
    async with Silenced(urlsplit(postgres.url).port) as proxy:
        engine = create_async_engine(
            proxy.instead_of(getattr(postgres, driver)), pool_size=5, max_overflow=0
        )

        async def check() -> None:
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))

        async with AsyncExitStack() as stack:
            for _ in range(5):
                await stack.enter_async_context(engine.connect())
        half = correct(PAGE, PAIR)
        app, state = service(half, check)
        assert await status(app, state) == 200
        half.LIMIT, proxy.silent = SHORT, True
        answers = [await status(app, state) for _ in range(5)]

        assert answers == [503] * 5
        assert engine.pool.checkedout() == 1
        run = app.state.checking
    await asyncio.wait({run})
    assert run.exception() is not None
    await engine.dispose()
