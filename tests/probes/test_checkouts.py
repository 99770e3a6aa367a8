"""The checkouts probe: which connections are out, and for how long."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest
from fastapi import Depends, FastAPI, Request
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.pool import NullPool
from starlette.middleware.base import BaseHTTPMiddleware

from tests.harness import ROOT
from tests.harness.probing import found, judged, probed, told, traps
from tests.probes.shop import LIST, READ, nothing, shop, skus


def listing(store, work):
    """A shop whose stock is listed by `work(request)`."""
    app = shop(store.url)

    @app.get("/stock")
    async def stock(request: Request) -> None:
        await work(request)

    return app


async def ask_a_service() -> None:
    await asyncio.sleep(0.04)


async def slow_inside(request):
    async with request.state.sessions() as session:
        await session.scalars(READ)
        await ask_a_service()


async def slow_after(request):
    async with request.state.sessions() as session:
        await session.scalars(READ)
    await ask_a_service()


async def nested(request):
    async with request.state.sessions() as session:
        await session.scalars(READ)
        await skus(request)


async def bounded_fan_out(request):
    slots = asyncio.Semaphore(2)

    async def one():
        async with slots, request.state.sessions() as session:
            await session.scalars(READ)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(one())


async def unreturned(request):
    session = request.state.sessions()
    await session.scalars(READ)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (slow_inside, {"sqlalchemy/sessions#slow-call-inside-the-block"}),
        (nested, {"pooling/database#nested-checkout"}),
        (unreturned, {"pooling/tuning#leaked-connections"}),
        (slow_after, set()),
        (bounded_fan_out, set()),
    ],
)
def test_connections_that_are_held_are_found(store, work, expected) -> None:
    """A 4 ms call inside the block, two at once, one that is lost; not what is right."""
    verdicts = probed(listing(store, work), LIST, wanted="checkouts")

    assert (traps(verdicts), found(verdicts)) == (expected, {"checkouts"} if expected else set())


@pytest.mark.parametrize("runs", [{2}, {2, 3, 4}, set(range(20))])
def test_a_connection_that_idles_now_and_then_is_the_machines_doing(sqlite, runs) -> None:
    """A busy machine makes some runs slow, the code makes all of them so."""
    sent = []

    async def work(request):
        sent.append(1)
        async with request.state.sessions() as session:
            await session.scalars(READ)
            if len(sent) in runs:
                await ask_a_service()

    verdicts = probed(listing(sqlite, work), LIST, wanted="checkouts")

    assert judged(verdicts, "checkouts") == {"found" if len(runs) > 7 else "ok"}


def test_the_line_that_awaits_is_named(sqlite) -> None:
    """The reader is told which call keeps the connection waiting."""
    verdicts = probed(listing(sqlite, slow_inside), LIST, wanted="checkouts")

    assert "ask_a_service (in asyncio.tasks)" in told(verdicts, "checkouts")


def test_a_folder_of_the_users_named_like_a_library_is_the_users(sqlite) -> None:
    """What is awaited in `app/sqlalchemy/calls.py` is no wait for the database."""
    path = ROOT / "app" / "sqlalchemy" / "calls.py"
    source = "import asyncio\nasync def call():\n    await asyncio.sleep(0.04)\n"
    calls: dict = {}
    exec(compile(source, path, "exec"), calls)  # noqa: S102

    async def work(request):
        async with request.state.sessions() as session:
            await session.scalars(READ)
            await calls["call"]()

    verdicts = probed(listing(sqlite, work), LIST, wanted="checkouts")

    assert "app/sqlalchemy/calls.py:3 call" in told(verdicts, "checkouts")


def test_an_await_inside_an_async_generator_is_seen(sqlite) -> None:
    """`asend()` breaks the chain of awaits; the way on from it is found."""

    async def rows() -> AsyncGenerator[int, None]:
        await ask_a_service()
        yield 1

    async def work(request):
        async with request.state.sessions() as session:
            await session.scalars(READ)
            async for _ in rows():
                pass

    verdicts = probed(listing(sqlite, work), LIST, wanted="checkouts")

    assert traps(verdicts) == {"sqlalchemy/sessions#slow-call-inside-the-block"}


def test_a_poller_is_not_counted(sqlite) -> None:
    """What the application does by itself is no request's."""
    app = listing(sqlite, slow_after)
    inner, polls = app.router.lifespan_context, []

    @contextlib.asynccontextmanager
    async def lifespan(app):
        async with inner(app) as state:

            async def poll():
                while True:
                    async with state["sessions"]() as session:
                        await session.scalars(READ)
                    polls.append(1)
                    await asyncio.sleep(0.003)

            task = asyncio.create_task(poll())
            yield state
            task.cancel()
            await asyncio.wait([task])

    app.router.lifespan_context = lifespan
    verdicts = probed(app, LIST, wanted="checkouts statements tasks cancel")

    assert (found(verdicts), len(polls) > 5) == (set(), True)


@pytest.mark.filterwarnings("ignore")  # a cancel may cost a connection
def test_below_a_basehttpmiddleware_the_handlers_task_is_the_requests(sqlite) -> None:
    """The handler runs in a child task: its nested checkout is seen, its plain one is fine."""
    right, wrong = listing(sqlite, slow_after), listing(sqlite, nested)
    for app in (right, wrong):

        async def passing(request, call_next):
            return await call_next(request)

        app.add_middleware(BaseHTTPMiddleware, dispatch=passing)

    fine = probed(right, LIST, wanted="checkouts cancel")

    assert (found(fine), found(probed(wrong, LIST, wanted="checkouts"))) == (set(), {"checkouts"})


def test_a_thread_hop_of_a_sync_dependency_is_no_idle_connection(sqlite) -> None:
    """A `def` dependency between two statements takes a millisecond, not a held connection."""
    app = shop(sqlite.url)

    async def session(request: Request):
        async with request.state.sessions() as session:
            await session.scalars(READ)
            yield session

    taken = Depends(session)

    def setting(session=taken) -> int:
        return 1

    asked = Depends(setting)

    @app.get("/stock")
    async def stock(session=taken, number=asked) -> None:
        await session.scalars(READ)

    verdicts = probed(app, LIST, wanted="checkouts")

    assert judged(verdicts, "checkouts") == {"ok"}, told(verdicts, "checkouts")


def test_a_nullpool_is_left_to_the_reader(store) -> None:
    """It is right in front of PgBouncer, which the probe cannot see."""
    app = listing(store, slow_after)
    app.state.pool = {"poolclass": NullPool}

    verdicts = probed(app, LIST, wanted="checkouts dials")

    assert (found(verdicts), judged(verdicts, "checkouts")) == (set(), {"cannot-tell"})


def test_without_a_connection_there_is_nothing_to_tell() -> None:
    """An application without a database is not called fine."""
    app = shop()
    app.get("/stock")(nothing)

    verdicts = probed(app, LIST, wanted="checkouts")

    assert judged(verdicts, "checkouts") == {"cannot-tell"}


def test_an_engine_made_before_the_probe_is_seen(sqlite) -> None:
    """The hooks are on the classes: an engine of the module's is as visible as a later one."""
    engine = create_async_engine(sqlite.url)

    @contextlib.asynccontextmanager
    async def lifespan(app):
        yield {"sessions": async_sessionmaker(engine)}
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)
    app.get("/stock")(skus)

    verdicts = probed(app, LIST, wanted="checkouts")

    assert judged(verdicts, "checkouts") == {"ok"}
