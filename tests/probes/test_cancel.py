"""The cancel probe: what a request leaves behind when it is cut at one of its awaits."""

import asyncio
import contextlib
import functools
import re

import pytest
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.middleware.base import BaseHTTPMiddleware

from tests.harness.probing import Limits, judged, probed, told, traps
from tests.probes.shop import LIST, READ, shop


def listing(store, work):
    app = shop(store.url)

    @app.get("/stock")
    async def stock(request: Request) -> list[str]:
        return await work(request)

    return app


async def closing_by_hand(request):
    """A cancel is no Exception."""
    session = request.state.sessions()
    try:
        skus = list(await session.scalars(READ))
        await asyncio.sleep(0)
    except Exception:
        await session.close()
        raise
    await session.close()
    return skus


async def closing_in_a_block(request):
    async with request.state.sessions() as session:
        skus = list(await session.scalars(READ))
        await asyncio.sleep(0)
        return skus


async def swallowing(request):
    with contextlib.suppress(BaseException):
        await asyncio.sleep(0.001)
    return ["a"]


async def leaving_a_task(request):
    """The task is waited for, unless the request is cancelled."""
    task = asyncio.create_task(asyncio.sleep(3))
    await asyncio.sleep(0.001)
    task.cancel()
    return ["a"]


async def owning_a_task(request):
    task = asyncio.create_task(asyncio.sleep(3))
    try:
        await asyncio.sleep(0.001)
    finally:
        task.cancel()
    return ["a"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (closing_by_hand, {"pooling/tuning#leaked-connections"}),
        (swallowing, {"asyncio/cancellation#retry-loops"}),
        (leaving_a_task, {"asyncio/taskgroup#own-background-tasks"}),
        (closing_in_a_block, set()),
        (owning_a_task, set()),
    ],
)
def test_what_a_cancel_leaves_behind_is_found(sqlite, work, expected) -> None:
    """A connection, an answer as if nothing was, or a task, each by its trap."""
    verdicts = probed(listing(sqlite, work), LIST, wanted="cancel", limits=Limits(settle=0.1))

    assert traps(verdicts) == expected, told(verdicts, "cancel")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("work", "verdict"), [(closing_by_hand, "found"), (closing_in_a_block, "ok")]
)
def test_the_interesting_await_is_reached_on_a_real_database(postgres_shop, work, verdict) -> None:
    """A cancel costs a connection: a plain request in between brings the pool back."""
    app = listing(postgres_shop, work)

    verdicts = probed(app, LIST, wanted="cancel", limits=Limits(settle=0.1))

    assert judged(verdicts, "cancel") == {verdict}, told(verdicts, "cancel")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("work", "verdict"), [(leaving_a_task, "found"), (owning_a_task, "ok")])
def test_a_handler_below_a_basehttpmiddleware_is_cut_with_its_request(work, verdict) -> None:
    """Its suspensions are those of a child; the cancel goes to the request's own task."""
    app = shop()
    app.get("/stock")(functools.partial(work, None))

    async def passing(request, call_next):
        return await call_next(request)

    app.add_middleware(BaseHTTPMiddleware, dispatch=passing)

    verdicts = probed(app, LIST, wanted="cancel", limits=Limits(settle=0.1))

    assert judged(verdicts, "cancel") == {verdict}, told(verdicts, "cancel")


@pytest.mark.filterwarnings("ignore")
def test_a_request_that_leaks_anyway_is_not_cancelled(sqlite) -> None:
    """The checkouts probe has found it already; a cancel would repeat it fifty times."""
    kept = []

    async def leaking(request):
        kept.append(request.state.sessions())
        return list(await kept[-1].scalars(READ))

    verdicts = probed(listing(sqlite, leaking), LIST, wanted="cancel")

    assert judged(verdicts, "cancel") == {"cannot-tell"}


def test_awaits_after_the_request_are_not_counted() -> None:
    """A job that goes on is not cut with the request that started it."""
    app, tasks = shop(), set()

    @app.post("/jobs")
    async def start() -> None:
        async def job():
            for _ in range(300):
                await asyncio.sleep(0)

        task = asyncio.create_task(job())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    verdicts = probed(app, "POST /jobs", wanted="cancel")

    assert " 0 awaits" not in told(verdicts, "cancel")
    assert int(told(verdicts, "cancel").split(" awaits")[0].rpartition(" ")[2]) < 30


@pytest.mark.filterwarnings("ignore")
def test_a_stream_is_cut_too(sqlite) -> None:
    """One that goes on for ever is left by its client, and cancelled while it waits."""
    app = shop(sqlite.url)

    @app.get("/events")
    async def events(request: Request) -> StreamingResponse:
        async def lines():
            while True:
                yield "tick\n"
                await asyncio.sleep(0.01)

        return StreamingResponse(lines())

    verdicts = probed(app, "GET /events", wanted="cancel", limits=Limits(patience=0.05))

    assert judged(verdicts, "cancel") == {"ok"}, told(verdicts, "cancel")


def test_a_cleanup_that_does_not_end_is_found_with_its_line() -> None:
    """A goodbye to a server that never answers it."""
    app = shop()

    @app.get("/stock")
    async def stock() -> None:
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            await asyncio.sleep(60)
            raise

    verdicts = probed(app, LIST, wanted="cancel", limits=Limits(settle=0.1, request=0.3))

    assert traps(verdicts) == {"asyncio/cancellation#cleanup-that-must-finish"}
    assert re.search(r"waits at tests/probes/test_cancel\.py:\d+ stock", told(verdicts, "cancel"))


def test_what_there_is_no_time_for_is_not_ok(sqlite) -> None:
    """A few cuts that left nothing behind say little of the others."""
    limits = Limits(cuts=0.001)
    verdicts = probed(listing(sqlite, closing_in_a_block), LIST, wanted="cancel", limits=limits)

    assert judged(verdicts, "cancel") == {"cannot-tell"}
    assert "--limit" in told(verdicts, "cancel")


def test_a_lock_that_a_cancel_leaves_held_is_found_by_the_next_request() -> None:
    """It waits for ever: where, is the evidence, and the probes after it are not blamed."""
    app, lock = shop(), asyncio.Lock()

    @app.get("/stock")
    async def stock(limit: int = 3) -> None:
        await lock.acquire()
        await asyncio.sleep(0.001)
        lock.release()

    limits = Limits(settle=0.1, request=0.2)
    verdicts = probed(app, "GET /stock?limit=3", wanted="cancel inputs", limits=limits)

    said = told(verdicts, "cancel")
    assert re.search(r"does not end: it waits at tests/probes/test_cancel\.py:\d+ stock", said)
    assert {each.probe for each in verdicts} == {"cancel"}


def test_what_the_next_request_is_answered_is_told_with_its_error() -> None:
    """A status alone leaves the reader to look for it."""
    app, broken = shop(), []

    @app.get("/stock")
    async def stock() -> None:
        if broken:
            raise LookupError(broken.pop())
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            broken.append("no connection")
            raise

    verdicts = probed(app, LIST, wanted="cancel", limits=Limits(settle=0.1))

    assert "is answered 500: LookupError('no connection')" in told(verdicts, "cancel")
