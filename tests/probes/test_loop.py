"""The loop probe: what keeps the event loop from running."""

import asyncio
import hashlib
import socket
import sys
import time

import pytest
from sqlalchemy import create_engine

from tests.harness.probing import found, judged, probed, told
from tests.observers.shipped import shipped
from tests.probes.shop import READ, shop


def hashing() -> None:
    hashlib.pbkdf2_hmac("sha256", b"pa55", b"salt", 750_000)


def resolving() -> None:
    socket.getaddrinfo("127.0.0.1", 80)


@pytest.mark.parametrize("work", [hashing, resolving])
def test_a_call_that_blocks_is_found_by_its_line(work) -> None:
    """By the length of its stall, or by what it calls, however short."""
    app = shop()

    @app.get("/work")
    async def blocking() -> None:
        work()

    verdicts = probed(app, "GET /work", wanted="loop")

    assert (found(verdicts), work.__name__ in told(verdicts, "loop")) == ({"loop"}, True)


@pytest.mark.parametrize("work", [hashing, resolving])
def test_the_same_call_in_a_thread_is_fine(work) -> None:
    """The loop runs on meanwhile."""
    app = shop()

    @app.get("/work")
    async def threaded() -> None:
        await asyncio.to_thread(work)

    verdicts = probed(app, "GET /work", wanted="loop")

    assert not found(verdicts), told(verdicts, "loop")


@pytest.mark.parametrize(("plain", "verdict"), [(False, "found"), (True, "ok")])
def test_a_sync_engine_is_found_on_the_loop_and_fine_in_a_thread(sqlite, plain, verdict) -> None:
    """However short its statement was this time."""
    app, engine = shop(), create_engine(sqlite.url.replace("+aiosqlite", ""))

    def read() -> list[str]:
        with engine.connect() as connection:
            return list(connection.scalars(READ))

    async def reading() -> list[str]:
        return read()

    app.get("/stock")(read if plain else reading)
    try:
        verdicts = probed(app, "GET /stock", wanted="loop")
    finally:
        engine.dispose()

    assert judged(verdicts, "loop") == {verdict}, told(verdicts, "loop")


def test_a_process_that_asyncio_starts_is_fine() -> None:
    """The loop does not wait for it, as subprocess.run() would."""
    app = shop()

    @app.get("/work")
    async def work() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
        await process.wait()

    verdicts = probed(app, "GET /work", wanted="loop")

    assert judged(verdicts, "loop") == {"ok"}, told(verdicts, "loop")


def test_one_slow_run_among_quick_ones_is_no_stall() -> None:
    """A busy machine does not make each run slow: the shortest of several decides."""
    app, runs = shop(), []

    @app.get("/work")
    async def sometimes() -> None:
        runs.append(1)
        end = time.perf_counter() + (0.08 if len(runs) in (2, 3) else 0)
        while time.perf_counter() < end:
            pass

    verdicts = probed(app, "GET /work", wanted="loop")

    assert judged(verdicts, "loop") == {"ok"}, told(verdicts, "loop")


def stalled(*stalls):
    """What the probe says of a request with these stalls, where no more can be seen."""
    run = shipped("core.run")
    seen = run.Run(None, {}, None, run.Limits(stall=0.05))
    seen.traces = [shipped("core.trace").Trace()]
    seen.stalls = [shipped("core.loop").Stall(*each) for each in stalls] * 7
    (verdict,) = asyncio.run(shipped("loop").look(seen))
    return verdict


def test_a_stall_whose_line_one_run_missed_is_named_by_another() -> None:
    """The sampler runs when the interpreter lets it, which is not in each run."""
    verdict = stalled((0.2, ""), (0.3, "shop.py:3 pay"))

    assert verdict.evidence == ["most of it at shop.py:3 pay"]


def test_a_stall_without_a_line_says_what_that_means() -> None:
    """Nothing of Python's ran meanwhile, the sampler neither."""
    verdict = stalled((0.2, ""))

    assert "keeps the interpreter's lock" in verdict.evidence[0]


def test_a_loop_that_waits_itself_is_not_stalled_by_the_request() -> None:
    """On a busy machine it is not woken in time, which is no fault of the application's."""
    verdict = stalled((0.2, "selectors:468 select"))

    assert verdict.verdict == "cannot-tell"
