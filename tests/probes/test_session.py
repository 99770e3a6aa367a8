"""What all probes stand on: the run in this process, its hooks, and what they leave alone."""

import asyncio
import contextlib
import gc
import sys
import warnings
import weakref

import pytest
from fastapi import FastAPI, Request
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import IntegrityError, PendingRollbackError

from tests.harness.probing import judged, probed, told, traps
from tests.observers.shipped import shipped
from tests.probes.shop import LIST, ORDER, WRITE, nothing, shop, skus

application = shipped("core.application")
tasks = shipped("core.tasks")
Trace, CURRENT = shipped("core.trace").Trace, shipped("core.trace").CURRENT


def test_an_application_without_sqlalchemy_is_probed(monkeypatch) -> None:
    """What needs a database cannot be told; the loop, the tasks and the inputs can."""
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    app = FastAPI()

    @app.get("/items/{number}")
    async def item(number: int) -> int:
        await asyncio.sleep(0)
        return number

    verdicts = probed(app, "GET /items/3")

    said = {each.probe: each.verdict for each in verdicts}
    blind = {"commit", "checkouts", "errors", "statements", "health"}
    seeing = {"loop", "cancel", "tasks", "inputs", "dials"}
    assert said == dict.fromkeys(blind, "cannot-tell") | dict.fromkeys(seeing, "ok")


def test_a_shutdown_that_fails_keeps_what_was_seen() -> None:
    """It is found, and the verdicts on the requests are told beside it."""

    @contextlib.asynccontextmanager
    async def lifespan(app):
        yield
        raise RuntimeError("the pool is not empty")

    app = FastAPI(lifespan=lifespan)
    app.get("/version")(nothing)

    verdicts = probed(app, "GET /version", wanted="loop")

    said = {each.probe: each.verdict for each in verdicts}
    assert said == {"loop": "ok", "lifespan": "found"}
    assert "the pool is not empty" in told(verdicts, "lifespan")


@pytest.mark.parametrize("raises", [True, False])
def test_an_application_without_a_lifespan_is_probed(raises) -> None:
    """It raises at the scope it does not know, or returns."""

    async def app(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})
        elif raises:
            raise NotImplementedError(scope["type"])

    verdicts = probed(app, "GET /", wanted="loop cancel")

    assert judged(verdicts, "loop") | judged(verdicts, "cancel") == {"ok"}


def test_a_lifespan_that_fails_is_told_by_its_own_words() -> None:
    """The error of the startup is what the user sees."""

    @contextlib.asynccontextmanager
    async def lifespan(app):
        raise RuntimeError("no SHOP_KEY in the environment")
        yield

    with pytest.raises(application.ApplicationError, match="no SHOP_KEY"):
        probed(FastAPI(lifespan=lifespan), "GET /")


def test_the_refused_commit_is_wrapped_as_its_drivers_errors_are(store) -> None:
    """The application's `except IntegrityError` has to see it, with the driver's own inside."""
    app, caught = shop(store.url), []

    @app.post("/orders", status_code=201)
    async def order(sku: str, request: Request) -> None:
        try:
            async with request.state.sessions.begin() as session:
                await session.execute(WRITE, {"sku": sku})
        except IntegrityError as error:
            caught.append((type(error.orig).__name__, error.orig.sqlstate))
            raise

    probed(app, ORDER, wanted="commit")

    assert caught == [("IntegrityError", "23514")]


def test_nothing_is_left_on_sqlalchemys_classes(sqlite) -> None:
    """An engine made afterwards is not watched, and its dialect is whole."""
    app = shop(sqlite.url)
    app.get("/stock")(skus)
    probed(app, LIST)

    engine = create_engine("sqlite://")
    listening = [name for name in ("do_connect", "commit") if event.contains(Engine, name, print)]
    assert (listening, "do_commit" in vars(engine.dialect)) == ([], False)


def test_the_observer_keeps_nothing_of_a_request_alive() -> None:
    """A task refers to its error, that to frames, those to connections: none is kept."""
    app, kept, alive = FastAPI(), [], []

    class Resource: ...

    @app.get("/stock")
    async def stock() -> None:
        alive.append(sum(each() is not None for each in kept))
        resource = Resource()
        kept.append(weakref.ref(resource))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    probed(app, LIST, wanted="cancel")

    assert (max(alive) <= 1, len(alive) > 10) == (True, True)


def test_the_task_factory_passes_on_what_it_is_given() -> None:
    """The name and the context of a task are the application's."""

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(tasks.task_factory)
        CURRENT.set(Trace())

        async def job():
            return asyncio.current_task().get_name()

        task = asyncio.create_task(job(), name="mail")
        return await task, task.get_coro().__qualname__.rpartition(".")[2]

    assert asyncio.run(main()) == ("mail", "job")


def test_a_task_cancelled_before_its_first_step_leaves_no_warning() -> None:
    """Its coroutine is closed, as asyncio itself closes it."""

    async def main():
        asyncio.get_running_loop().set_task_factory(tasks.task_factory)
        CURRENT.set(Trace())
        task = asyncio.create_task(asyncio.sleep(1))
        task.cancel()
        await asyncio.wait([task])

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(main())
        gc.collect()

    assert [str(each.message) for each in caught] == []


def test_an_application_with_a_task_factory_of_its_own_cannot_be_cut() -> None:
    """Its tasks are not seen: that is said, and not that they are fine."""

    def plain(loop, coroutine, **options):
        return asyncio.Task(coroutine, loop=loop, **options)

    @contextlib.asynccontextmanager
    async def lifespan(app):
        asyncio.get_running_loop().set_task_factory(plain)
        yield

    app = FastAPI(lifespan=lifespan)
    app.get("/stock")(nothing)

    verdicts = probed(app, LIST, wanted="cancel tasks")

    assert judged(verdicts, "cancel") | judged(verdicts, "tasks") == {"cannot-tell"}


def test_a_probe_that_takes_too_long_is_cut_and_named() -> None:
    """The others go on."""
    app, sent = FastAPI(), []

    @app.post("/stock")
    async def stock(body: dict[str, str]) -> None:
        sent.append(1)
        if len(sent) > 4:
            await asyncio.sleep(0.2)

    verdicts = probed(app, 'POST /stock {"a": "b"}', wanted="cancel loop", limit=0.3)

    said = [
        judged(verdicts, "loop"),
        judged(verdicts, "cancel"),
        "--limit" in told(verdicts, "cancel"),
    ]
    assert said == [{"ok"}, {"cannot-tell"}, True]


def test_a_connection_elsewhere_is_refused_and_reported() -> None:
    """Requests are repeated, and may send mails: only this machine is spoken to."""
    app = FastAPI()

    @app.get("/quote")
    async def quote() -> str:
        try:
            await asyncio.open_connection("198.51.100.7", 443)
        except OSError as error:
            return str(error)
        return "connected"

    verdicts = probed(app, "GET /quote", wanted="dials")

    assert "198.51.100.7" in told(verdicts, "network")
    assert judged(verdicts, "dials") == {"cannot-tell"}, "what was refused may be kept, or not"


def test_a_host_without_an_address_leaves_dials_untold() -> None:
    """Away from the network nothing is opened, which is no proof that connections are reused."""
    app = FastAPI()

    @app.get("/quote")
    async def quote() -> str:
        with contextlib.suppress(OSError):
            await asyncio.open_connection("quotes.invalid", 443)
        return "none"

    verdicts = probed(app, "GET /quote", wanted="dials")

    assert judged(verdicts, "dials") == {"cannot-tell"}
    assert "test_session.py" in told(verdicts, "dials")


def test_a_database_elsewhere_is_refused() -> None:
    """Every probe spoils data: the host has to be allowed by name, or all of them."""
    app = shop("postgresql+asyncpg://shop@db.example/shop")
    app.get("/stock")(skus)

    with pytest.raises(shipped("core.session").MisuseError, match=r"db\.example.*--allow-remote"):
        probed(app, LIST, wanted="commit")


def test_what_one_failed_commit_breaks_for_good_is_said(sqlite) -> None:
    """The probes that come after it are not blamed, nor is the endpoint for their sake."""
    app, failed = shop(sqlite.url), []

    @app.post("/orders", status_code=201)
    async def order(sku: str, request: Request) -> None:
        if failed:
            raise PendingRollbackError("one session for all requests")
        try:
            async with request.state.sessions.begin() as session:
                await session.execute(WRITE, {"sku": sku})
        except IntegrityError:
            failed.append(sku)
            raise

    verdicts = probed(app, ORDER, wanted="commit cancel")

    assert {each.probe for each in verdicts} == {"commit"}
    assert traps(verdicts) == {"sqlalchemy/sessions#session-shared-by-tasks"}
