"""Texts of an application that does not start, or starts without its lifespan."""

import asyncio
import contextlib
import signal
import socket
import sys

import pytest
import uvicorn
from fastapi import FastAPI, Request

from tests.harness.errors import produces
from tests.observers.asgi import SPEC


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a module `shop_web`, which modules are imported from."""
    (tmp_path / "shop_web.py").write_text(
        "from fastapi import FastAPI\n\n"
        "api = FastAPI()\n\n\n"
        "def create_app(settings):\n    return api\n\n\n"
        "def create_default():\n    return create_app({})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("shop_web", None)


class Brief(uvicorn.Server):
    """A server that stops as soon as it is up."""

    async def main_loop(self) -> None: ...


def start_and_stop(app, **options):
    """Run a server; SystemExit when it does not come up."""
    Brief(uvicorn.Config(app, **{"port": 0, "log_config": None} | options)).run()


def load(name, **options):
    """Import an application as uvicorn's command does."""
    uvicorn.Config(name, log_config=None, **options).load()


def engine_app():
    """An application whose route reads what its lifespan yields."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI):
        yield {"engine": "the engine"}

    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def read(request: Request) -> str:
        return request.state.engine

    return app


@produces("fastapi", "'State' object has no attribute")
def a_test_client_is_used_without_with(cured):
    """TestClient runs a lifespan in its `with` block only."""
    from starlette.testclient import TestClient  # it warns on import at the floor

    client = TestClient(engine_app())
    with client if cured else contextlib.nullcontext():
        client.get("/")


@produces("fastapi", "Error loading ASGI app. Could not import module")
def the_module_is_elsewhere(folder, cured):
    """The module's name does not lead to a file from the folder of the start."""
    load("shop_web:api" if cured else "web:api")


@produces("fastapi", 'Error loading ASGI app. Attribute "')
def the_application_has_another_name(folder, cured):
    """The module is there, its variable has another name."""
    load("shop_web:api" if cured else "shop_web:app")


@produces("fastapi", "Error loading ASGI app factory:")
def a_factory_wants_arguments(folder, cured):
    """uvicorn calls a factory without arguments."""
    load(f"shop_web:{'create_default' if cured else 'create_app'}", factory=True)


@produces("fastapi", "You must pass the application as an import string")
def workers_get_an_object():
    """Two workers, and the application itself instead of its name."""
    uvicorn.run(FastAPI(), workers=2, log_config=None)


@produces("fastapi", "Application startup failed. Exiting.")
def a_lifespan_fails_before_its_yield(cured):
    """The lifespan connects to a port where nothing listens."""
    with socket.socket() as database:
        database.bind(("127.0.0.1", 0))
        if cured:
            database.listen()

        @contextlib.asynccontextmanager
        async def lifespan(app: FastAPI):
            socket.create_connection(database.getsockname()).close()
            yield

        start_and_stop(FastAPI(lifespan=lifespan))


@produces("fastapi", "Application shutdown failed. Exiting.")
def a_lifespan_fails_after_its_yield():
    """The lifespan's close raises."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI):
        yield
        raise RuntimeError("the cache does not close")

    start_and_stop(FastAPI(lifespan=lifespan))


@produces("fastapi", "error while attempting to bind on address")
def a_port_is_taken(cured):
    """Another process listens on the port."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        start_and_stop(FastAPI(), port=0 if cured else other.getsockname()[1])


@produces("fastapi", 'The server does not support "state" in the lifespan scope.')
async def an_adapter_has_no_state(cured):
    """A server of an older ASGI sends a lifespan scope without `state`."""
    app, messages = engine_app(), ["startup", "shutdown"]

    async def receive():
        return {"type": f"lifespan.{messages.pop(0)}"}

    async def send(message):
        pass

    scope = {"type": "lifespan", "asgi": SPEC}
    await app(scope | ({"state": {}} if cured else {}), receive, send)


@produces("fastapi", "on_event is deprecated, use lifespan event handlers instead.")
def a_startup_handler_is_registered(cured):
    """`@app.on_event`, and a lifespan in its place."""
    app = engine_app()

    async def start() -> None: ...

    if not cured:
        app.on_event("startup")(start)


@produces("fastapi", "object has no attribute 'add_event_handler'", where="starlette>=1.0")
def a_library_adds_an_event_handler(cured):
    """`app.add_event_handler` is gone with Starlette 1.0."""
    app = engine_app()
    if not cured:
        app.add_event_handler("startup", print)


@produces("fastapi", "set_wakeup_fd only works in main thread")
def a_lifespan_handles_signals_in_a_thread(cured):
    """TestClient runs the lifespan in a thread of its own, where no signal handler can be set."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI):
        server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        if not cured or isinstance(server, uvicorn.Server):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print)
        yield

    from starlette.testclient import TestClient

    with TestClient(FastAPI(lifespan=lifespan)):
        pass


@produces("fastapi", "Set of Tasks/Futures is empty")
async def a_readiness_route_has_nothing_to_check(cured):
    """`asyncio.wait` is called with no task."""
    checks = []
    tasks = [asyncio.create_task(check()) for check in checks]
    if tasks or not cured:
        await asyncio.wait(tasks, timeout=2)
