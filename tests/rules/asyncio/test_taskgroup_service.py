"""What rules/asyncio/taskgroup.md says of groups in a service: handlers, lifespan, workers."""

import asyncio
import urllib.request
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

from tests.harness import confirms
from tests.observers.asgi import request, running
from tests.observers.waiting import reached
from tests.rules.asyncio.test_taskgroup_traps import fail, forever
from tests.servers.uvicorn import uvicorn

RULE = "asyncio/taskgroup"


class MissingError(Exception): ...


class ForbiddenError(Exception): ...


async def load(*errors):
    async with asyncio.TaskGroup() as group:
        for error in errors:
            group.create_task(fail(error))


def create_app():
    """An application with a handler for MissingError, and ways to raise it."""
    app = FastAPI()

    @app.exception_handler(MissingError)
    async def missing(request: Request, error: MissingError):
        return JSONResponse({}, 404)

    @app.get("/alone")
    async def alone():
        raise MissingError

    @app.get("/child")
    async def child():
        await load(MissingError())

    @app.get("/http")
    async def http():
        await load(HTTPException(404))

    @app.get("/block")
    async def block():
        async with asyncio.TaskGroup():
            raise HTTPException(404)

    @app.get("/after")
    async def after():
        async with asyncio.TaskGroup() as group:
            found = group.create_task(asyncio.sleep(0))
        if found.result() is None:
            raise HTTPException(404)

    @app.get("/both")
    async def both():
        await load(MissingError(), ForbiddenError())

    @app.get("/fault")
    async def fault():
        await load(MissingError(), OSError())

    return app


async def statuses(app, *paths):
    return [(await request(app, path)).status for path in paths]


@confirms(RULE, "handlers-that-miss-a-group")
async def handlers_of_the_error_inside_are_not_called():
    """In a child or in the block it is a 500; alone or after the block it has its status."""
    app = create_app()

    assert await statuses(app, "/alone", "/after") == [404, 404]
    assert await statuses(app, "/child", "/http", "/block") == [500, 500, 500]


@confirms(RULE, "handlers-that-miss-a-group")
async def one_handler_splits_for_all_routes():
    """A handler for ExceptionGroup gives each domain error its status, and leaves faults a 500."""
    app = create_app()
    ranks = {ForbiddenError: 403, MissingError: 404}

    @app.exception_handler(ExceptionGroup)
    async def split(request: Request, errors: ExceptionGroup):
        _, unexpected = errors.split(tuple(ranks))
        if unexpected is not None:
            raise errors
        status = next(code for kind, code in ranks.items() if errors.subgroup(kind))
        return JSONResponse({}, status)

    assert await statuses(app, "/child", "/both", "/fault") == [404, 403, 500]


WORKERS = """
import asyncio
from contextlib import asynccontextmanager
from fastapi import FastAPI

crash = asyncio.Event()


async def crashing():
    await crash.wait()
    raise ValueError("bad message")


async def healthy():
    try:
        await asyncio.Event().wait()
    finally:
        print("healthy worker cancelled")


@asynccontextmanager
async def lifespan(app):
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(crashing())
            group.create_task(healthy())
            yield
    finally:
        print("pools closed")


app = FastAPI(lifespan=lifespan)


@app.get("/{path}")
async def read(path: str):
    if path == "crash":
        crash.set()
    return path
"""


@pytest.mark.slow
@confirms(RULE, "workers-around-the-lifespans-yield", limit=40)
async def a_server_goes_on_without_its_workers_and_pools():
    """One worker crashes: the other is cancelled, the lifespan ends, and requests are served."""

    def get(path):
        with urllib.request.urlopen(server.url + path, timeout=10) as response:  # noqa: S310
            return response.status

    async with uvicorn(WORKERS) as server:
        assert await asyncio.to_thread(get, "/before") == 200
        assert "healthy worker cancelled" not in server.log()

        await asyncio.to_thread(get, "/crash")

        assert await server.logged("healthy worker cancelled")
        assert await server.logged("pools closed")
        assert await asyncio.to_thread(get, "/after") == 200


@confirms(RULE, "workers-around-the-lifespans-yield")
async def a_supervised_worker_is_restarted_and_its_lifespan_stays():
    """A loop around each worker keeps a crash from the others."""
    starts, again, open_now = [], asyncio.Event(), []

    async def crashing():
        starts.append("start")
        if len(starts) == 2:
            again.set()
            await forever()
        raise ValueError

    async def supervise(work):
        while True:
            try:
                await work()
            except Exception:
                await asyncio.sleep(0)

    @asynccontextmanager
    async def lifespan(app):
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(supervise(each)) for each in (crashing, forever)]
            yield
            open_now.extend(not each.done() for each in workers)
            for each in workers:
                each.cancel()

    async with running(FastAPI(lifespan=lifespan)):
        await reached(again)

    assert open_now == [True, True]
