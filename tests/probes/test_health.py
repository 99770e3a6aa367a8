"""The health probe: liveness and readiness while the database refuses, and while it is silent."""

import asyncio
import contextlib

import pytest
from fastapi import HTTPException, Request
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from tests.harness.probing import Limits, found, judged, probed, told, traps
from tests.probes.shop import LIST, READ, shop, skus

QUICK = Limits(ready=0.5, live=0.2)


async def asking(request: Request) -> None:
    async with request.state.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


async def asking_for_200_ms(request: Request) -> None:
    """One check for all who ask, none waits longer for it."""
    state = request.app.state
    if getattr(state, "checking", None) is None or state.checking.done():
        state.checking = asyncio.create_task(asking(request))
    await asyncio.wait([state.checking], timeout=0.2)
    if not state.checking.done() or state.checking.exception():
        raise HTTPException(503)


async def pretending() -> str:
    return "app and database ok"


def healthy(store, **routes):
    """A shop with a list of its stock, and the routes for an orchestrator."""
    app = shop(store.url)
    app.get("/stock")(skus)
    for path, route in routes.items():
        app.get(f"/{path}")(route)
    return app


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (pretending, {"fastapi/lifespan#readiness-that-answers"}),
        (asking, {"fastapi/lifespan#probes-that-hang"}),
        (asking_for_200_ms, set()),
    ],
)
def test_readiness_that_checks_nothing_or_hangs_is_found(sqlite, route, expected) -> None:
    """It says 200 without a statement, or waits as long as the database is silent."""
    app, limits = healthy(sqlite, ready=route), QUICK if expected else Limits()

    verdicts = probed(app, LIST, wanted="health", ready="/ready", limits=limits)

    assert traps(verdicts) == expected, told(verdicts, "health")


@pytest.mark.parametrize(
    ("threaded", "verdicts"), [(True, {"ok", "found"}), (False, {"ok", "cannot-tell"})]
)
def test_a_sync_driver_is_silent_in_a_thread_only(sqlite, threaded, verdicts) -> None:
    """On the loop its silence would be the loop's: that cannot be told."""
    engine = create_engine(sqlite.url.replace("+aiosqlite", ""))

    def ask() -> None:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    async def ask_on_the_loop() -> None:
        ask()

    app = healthy(sqlite, ready=ask if threaded else ask_on_the_loop)
    said = probed(app, LIST, wanted="health", ready="/ready", limits=QUICK)
    engine.dispose()

    assert judged(said, "health") == verdicts, told(said, "health")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("route", "verdict"), [(asking, {"found"}), (pretending, {"ok"})])
def test_liveness_that_does_io_is_found(sqlite, route, verdict) -> None:
    """A database that is away would restart each pod."""
    app = healthy(sqlite, live=route)

    verdicts = probed(app, LIST, wanted="health", live="/live", limits=QUICK)

    assert judged(verdicts, "health") == verdict, told(verdicts, "health")


def test_a_path_that_does_not_answer_cannot_be_told_of(sqlite) -> None:
    """A 404 is no readiness that fails with the database."""
    verdicts = probed(healthy(sqlite), LIST, wanted="health", ready="/redy", live="/live")

    assert judged(verdicts, "health") == {"cannot-tell"}


def test_without_paths_it_is_said_which_are_needed(sqlite) -> None:
    """What the probe lacks is told, not called fine."""
    verdicts = probed(healthy(sqlite), LIST, wanted="health")

    assert judged(verdicts, "health") == {"cannot-tell"}
    assert "--ready" in told(verdicts, "health")


def test_readiness_of_an_application_without_a_database_cannot_be_told_of() -> None:
    """No database that the probe sees: nothing can be made to fail."""
    app = shop()
    app.get("/ready")(pretending)

    verdicts = probed(app, wanted="health", ready="/ready", limits=QUICK)

    assert found(verdicts) == set(), told(verdicts, "health")


def test_readiness_that_a_poller_knows_cannot_be_told_of(sqlite) -> None:
    """It asks nothing itself, and rightly: a task of the application's asks for it."""
    app = healthy(sqlite, ready=pretending)
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(app):
        async with inner(app) as state:

            async def poll():
                while True:
                    async with state["sessions"]() as session:
                        await session.scalars(READ)
                    await asyncio.sleep(0.003)

            task = asyncio.create_task(poll())
            yield state
            task.cancel()
            await asyncio.wait([task])

    app.router.lifespan_context = lifespan
    verdicts = probed(app, LIST, wanted="health", ready="/ready", limits=QUICK)

    assert found(verdicts) == set(), told(verdicts, "health")


@pytest.mark.filterwarnings("ignore")
def test_those_who_queue_for_one_connection_do_not_take_all(sqlite) -> None:
    """Each has it for a while, one after the other."""
    turn = asyncio.Semaphore(1)

    async def in_turn(request: Request) -> None:
        try:
            async with turn, asyncio.timeout(0.02):
                await asking(request)
        except TimeoutError:
            raise HTTPException(503) from None

    app = healthy(sqlite, ready=in_turn)
    verdicts = probed(app, LIST, wanted="health", ready="/ready", limits=QUICK)

    assert "8 probes at once take 1 connections" in told(verdicts, "health")


@pytest.mark.filterwarnings("ignore")
def test_the_drivers_own_patience_ends_a_silence(postgres_shop) -> None:
    """asyncpg gives up after its timeouts, as it does when a server is silent."""
    options = {"timeout": 0.05, "command_timeout": 0.05}

    async def guarded(request: Request) -> None:
        try:
            await asking(request)
        except (OSError, DBAPIError):
            raise HTTPException(503) from None

    app = healthy(postgres_shop, ready=guarded)
    app.state.pool = {"connect_args": options}
    verdicts = probed(app, LIST, wanted="health", ready="/ready", limits=QUICK)

    assert "no answer" not in told(verdicts, "health")
    assert judged(verdicts, "health") >= {"ok"}, told(verdicts, "health")


def test_a_crowd_that_asks_a_database_nobody_sees_cannot_be_told_of() -> None:
    """No connection was counted, which is no proof that none was taken."""
    app = shop()
    app.get("/ready")(pretending)

    verdicts = probed(app, wanted="health", ready="/ready", limits=QUICK)

    assert judged(verdicts, "health") == {"cannot-tell"}, told(verdicts, "health")
