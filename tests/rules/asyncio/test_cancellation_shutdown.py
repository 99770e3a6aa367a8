"""What asyncio/cancellation says of the end of the loop: uvicorn's shutdown, asyncio.run."""

import asyncio

import pytest

from tests.harness import confirms, correct
from tests.observers.canceller import cancelled_at
from tests.observers.waiting import reached, turns
from tests.servers.uvicorn import source_of, uvicorn

RULE = "asyncio/cancellation"
PAIR = "cleanup-that-must-finish"

SERVICE = """
import os
import anyio
from contextlib import asynccontextmanager
from fastapi import FastAPI

@asynccontextmanager
async def lifespan(app):
    yield
    print("shutdown")
    if "SETTLE" in os.environ:
        await settle()
    print("pools closed")

def steps(name):
    async def work():
        print(name, "locked")
        await asyncio.sleep(60)

    async def unlock():
        print(name, "unlocking")
        await asyncio.sleep(0.5)
        print(name, "unlocked")

    return work, unlock

async def alone(name: str):
    await locked(*steps(name))

async def grouped(name: str):
    async with asyncio.TaskGroup() as group:
        group.create_task(locked(*steps(name)))

async def plain(name: str):
    work, unlock = steps(name)
    try:
        await work()
    finally:
        await unlock()

async def shielded(name: str):
    work, unlock = steps(name)
    try:
        await work()
    finally:
        with anyio.CancelScope(shield=True):
            await finish(unlock())

def create_app(**settings):
    app = FastAPI(**settings)
    for handler in (alone, grouped, plain, shielded):
        app.get("/" + handler.__name__ + "/{name}")(handler)
    return app

app, inner = create_app(lifespan=lifespan), create_app()
app.mount("/inner", inner)

@inner.middleware("http")
async def dispatch(request, call_next):
    return await call_next(request)
"""
KINDS = ["alone", "grouped", "plain", "shielded"]
JOBS = [f"/{kind}/{kind}" for kind in KINDS] + [f"/inner/{kind}/inner-{kind}" for kind in KINDS]


async def unlocked_at_shutdown(env):
    """Terminate a server whose handlers hold their locks; return those done before its pools."""
    source = source_of(correct(RULE, PAIR)) + SERVICE
    async with uvicorn(source, "--timeout-graceful-shutdown", "1", env=env) as server:
        writers = []
        for path in JOBS:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            writers.append(writer)
            assert await server.logged(f"\n{path.rpartition('/')[2]} locked")
        server.terminate()
        assert await server.stopped()
        for writer in writers:
            writer.close()
        before, closed, _ = server.log().partition("pools closed")
        assert closed
        lines = before.splitlines()
        return [line.removesuffix(" unlocked") for line in lines if line.endswith(" unlocked")]


@pytest.mark.slow  # two servers wait out their graceful timeouts
@confirms(RULE, "cancelled-requests-are-not-awaited", "anyio-scopes-cancel-every-await", limit=40)
async def uvicorn_waits_for_cancelled_requests_only_through_the_lifespan():
    """Only with settle() unlocks are done; below a middleware a plain `finally` is cut anyway."""
    async with asyncio.TaskGroup() as group:  # side by side: each waits out a graceful timeout
        without = group.create_task(unlocked_at_shutdown({}))
        settled = group.create_task(unlocked_at_shutdown({"SETTLE": "1"}))

    assert without.result() == []
    kept = [*KINDS, "inner-alone", "inner-grouped", "inner-shielded"]
    assert sorted(settled.result()) == sorted(kept)


def logged_by_run(caplog, settle):
    """Cancel a job, then end the main coroutine while the job unlocks; return the last step."""
    half = correct(RULE, PAIR)
    steps = []

    async def work():
        steps.append("locked")
        await asyncio.sleep(60)

    async def unlock():
        steps.append("unlocking")
        await turns(20)
        steps.append("unlocked")

    async def main():
        job = asyncio.create_task(half.locked(work, unlock))
        await turns(3)
        job.cancel()
        await turns(5)
        assert steps == ["locked", "unlocking"]
        if settle:
            await half.settle()

    caplog.clear()
    asyncio.run(main())
    return steps[-1], caplog.messages


@confirms(RULE, "cancelled-requests-are-not-awaited")
def the_end_of_run_cuts_finish_unless_main_settles(caplog):
    """asyncio.run cancels the unlock that is under way, which is logged; settle() waits for it."""
    assert logged_by_run(caplog, settle=False) == ("unlocking", ["cleanup failed"])
    assert logged_by_run(caplog, settle=True) == ("unlocked", [])


@confirms(RULE, "cancelled-requests-are-not-awaited")
async def settle_waits_for_cancelled_tasks_only():
    """settle() ignores tasks nobody cancelled and its own, and gives up after its limit."""
    settle = correct(RULE, PAIR).settle
    cleaning, cleaned = asyncio.Event(), asyncio.Event()

    async def stubborn():
        try:
            await asyncio.sleep(60)
        finally:
            cleaning.set()
            await cleaned.wait()

    async def cancelled_itself():
        try:
            await asyncio.sleep(60)
        finally:
            await settle(60)

    idle = asyncio.create_task(asyncio.sleep(60))
    await settle()
    assert (await cancelled_at(cancelled_itself(), 1)).cancelled
    ending = asyncio.create_task(stubborn())
    await turns(2)
    ending.cancel()
    await reached(cleaning, ending)
    await settle(0.01)
    assert not ending.done()

    asyncio.get_running_loop().call_soon(cleaned.set)
    await settle()

    assert (ending.done(), idle.done()) == (True, False)
