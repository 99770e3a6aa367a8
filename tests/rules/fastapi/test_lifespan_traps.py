"""Proofs for the traps of rules/fastapi/lifespan.md."""

import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

import httpx2
import pytest
from fastapi import BackgroundTasks, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, ORJSONResponse
from packaging.version import Version
from pydantic import BaseModel
from redis.asyncio import Redis
from starlette.background import BackgroundTask

from tests.harness import confirms, pages
from tests.observers.asgi import request, running

PAGE = "fastapi/lifespan"


def logged(log, name, **state):
    """A lifespan that notes its start and its end."""

    @asynccontextmanager
    async def lifespan(app):
        log.append(f"{name} up")
        yield state
        log.append(f"{name} down")

    return lifespan


@confirms(PAGE, "handlers-that-never-run")
async def a_lifespan_silences_on_event():
    """The same startup handler runs without a lifespan and not beside one."""
    for beside, expected in ((True, ["app up", "app down"]), (False, ["on_event"])):
        log = []
        app = FastAPI(lifespan=logged(log, "app")) if beside else FastAPI()
        with pytest.warns(DeprecationWarning, match="lifespan"):
            app.on_event("startup")(lambda log=log: log.append("on_event"))
        async with running(app):
            pass

        assert log == expected


@confirms(PAGE, "handlers-that-never-run")
async def a_mounted_lifespan_runs_only_when_the_parent_enters_it():
    """Mounting alone starts nothing; its routes find its state only where the parent yields it."""
    seen = []
    for kind in ("mounted", "entered", "merged"):
        log = []
        sub = reader(log)

        @asynccontextmanager
        async def entering(app, sub=sub, kind=kind):
            async with sub.router.lifespan_context(sub) as state:
                yield {**state, "own": 1} if kind == "merged" else {"own": 1}

        app = FastAPI(lifespan=None if kind == "mounted" else entering)
        app.mount("/sub", sub)
        async with running(app) as state:
            exchange = await request(app, "/sub/", state=state)
        seen.append((kind, log, exchange.status))

    assert seen == [
        ("mounted", [], 500),
        ("entered", ["app up", "app down"], 500),
        ("merged", ["app up", "app down"], 200),
    ]


@asynccontextmanager
async def silent(app):
    """A lifespan that yields nothing."""
    yield


@pytest.mark.parametrize("given", [{}, {"lifespan": silent}])
@confirms(PAGE, "handlers-that-never-run")
async def a_mounted_app_without_state_can_be_entered_too(given):
    """Its lifespan is absent or yields nothing: what the page merges is then None."""
    claims = {each.slug: each.text for each in pages()[PAGE].claims}
    sub = FastAPI(**given)

    @asynccontextmanager
    async def entering(app):
        async with sub.router.lifespan_context(sub) as state:
            yield {**(state or {}), "own": 1}

    async with running(FastAPI(lifespan=entering)) as state:
        assert state == {"own": 1}
    assert "yield {**(state or {}), ...}" in claims["handlers-that-never-run"]


def reader(log) -> FastAPI:
    """An application whose one route reads what its lifespan yielded."""
    app = FastAPI(lifespan=logged(log, "app", engine="the engine"))

    @app.get("/")
    async def read(request: Request) -> str:
        return request.state.engine

    return app


@pytest.mark.filterwarnings("ignore:The anyio")  # Starlette 0.50, when imported
@confirms(PAGE, "tests-without-a-lifespan")
def a_test_client_starts_the_lifespan_only_in_with():
    """The same request fails outside and succeeds inside."""
    from fastapi.testclient import TestClient

    log = []
    client = TestClient(reader(log), raise_server_exceptions=False)

    assert (client.get("/").status_code, log) == (500, [])
    with client:
        assert client.get("/").json() == "the engine"
    assert log == ["app up", "app down"]


@confirms(PAGE, "tests-without-a-lifespan")
async def an_asgi_transport_starts_no_lifespan():
    """A route that reads what was never yielded fails, and the lifespan did not run."""
    log = []
    transport = httpx2.ASGITransport(reader(log))

    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        with pytest.raises(AttributeError):
            await client.get("/")
    assert log == []


@confirms(PAGE, "background-tasks-lost-quietly")
async def background_tasks_vanish_in_three_ways():
    """An error, another response's own task, a first failure: each time the work is not done."""
    app, done = FastAPI(), []

    def fails() -> None:
        raise RuntimeError("SMTP is down")

    @app.get("/error")
    async def error(tasks: BackgroundTasks) -> None:
        tasks.add_task(done.append, "added")
        raise RuntimeError

    @app.get("/own")
    async def own(tasks: BackgroundTasks) -> Response:
        tasks.add_task(done.append, "added")
        return Response(background=BackgroundTask(done.append, "own"))

    @app.get("/first")
    async def first(tasks: BackgroundTasks) -> None:
        tasks.add_task(fails)
        tasks.add_task(done.append, "added")

    @app.get("/control")
    async def control(tasks: BackgroundTasks) -> None:
        tasks.add_task(done.append, "added")

    expected = {"/error": [], "/own": ["own"], "/first": [], "/control": ["added"]}
    seen = {}
    for path in expected:
        done.clear()
        await request(app, path)
        seen[path] = list(done)

    assert seen == expected


@confirms(PAGE, "deprecated-habits")
async def a_response_class_warns_or_leaves_the_fast_path():
    """Pydantic writes infinity as null; JSONResponse, asked for by name, cannot write it."""
    if Version(version("fastapi")) < Version("0.131"):
        pytest.skip("the rule speaks of FastAPI 0.131 and later")

    class Out(BaseModel):
        value: float

    app = FastAPI()

    @app.get("/annotated")
    @app.get("/json", response_class=JSONResponse)
    async def out() -> Out:
        return Out(value=float("inf"))

    assert (await request(app, "/annotated")).json() == {"value": None}
    assert isinstance((await request(app, "/json")).error, ValueError)
    with pytest.warns(UserWarning, match="deprecated"), suppress(AssertionError):
        ORJSONResponse({})  # AssertionError: orjson need not be installed


@confirms(PAGE, "deprecated-habits")
async def events_and_html_need_their_response_class():
    """Of two equal routes the one without it sends JSON lines, or a JSON string."""
    sse = pytest.importorskip("fastapi.sse", reason="FastAPI has it from 0.135 on")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        app = FastAPI()

        @app.get("/lines")
        @app.get("/events", response_class=sse.EventSourceResponse)
        async def events() -> AsyncGenerator[sse.ServerSentEvent, None]:
            yield sse.ServerSentEvent(data="x")

        @app.get("/string")
        @app.get("/html", response_class=HTMLResponse)
        async def html() -> str:
            return "<b>x</b>"

    kinds = {}
    for path in ("/events", "/lines", "/html", "/string"):
        kinds[path] = (await request(app, path)).header("content-type").partition(";")[0]

    assert kinds == {
        "/events": "text/event-stream",
        "/lines": "application/jsonl",
        "/html": "text/html",
        "/string": "application/json",
    }


@confirms(PAGE, "deprecated-habits")
async def redis_close_warns_and_aclose_does_not():
    """Both close the client; one says that it will go."""
    client = Redis()
    with pytest.warns(DeprecationWarning, match="aclose"):
        await client.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert await client.aclose() is None
