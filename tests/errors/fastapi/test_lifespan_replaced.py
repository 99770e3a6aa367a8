"""Texts of names that another one replaces, and of a background task that is called by hand."""

import importlib
import sys

import httpx2
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import ORJSONResponse
from pydantic import BaseModel
from redis.asyncio import Redis

from tests.harness.errors import produces


class Item(BaseModel):
    name: str = "apple"


async def answer(app):
    """One request to an application in this process."""
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get("/")


@produces("fastapi", "the first argument must be callable")
async def a_background_task_is_called_by_hand(cured):
    """`add_task(job(...))`, and the function itself in its place."""
    app = FastAPI()

    async def job(name: str) -> None: ...

    @app.get("/")
    async def order(tasks: BackgroundTasks) -> None:
        if cured:
            tasks.add_task(job, "apple")
        else:
            tasks.add_task(job("apple"))

    await answer(app)


@produces("fastapi", "ORJSONResponse is deprecated", where="fastapi>=0.131")
async def a_response_class_is_deprecated(cured):
    """The response class, and a return type in its place."""
    app = FastAPI()

    @app.get("/")
    async def read() -> Item:
        return Item() if cured else ORJSONResponse({})

    await answer(app)


@produces("fastapi", "Call to deprecated close. (Use aclose() instead)")
async def a_redis_client_is_closed_by_its_old_name(cured):
    """redis-py's `close()`, and `aclose()`."""
    await (Redis().aclose() if cured else Redis().close())


@produces("fastapi", "module is deprecated. Please use")
def gunicorn_imports_the_old_worker(cured, monkeypatch):
    """The worker class that uvicorn had, and that of its own package."""
    monkeypatch.delitem(sys.modules, "uvicorn.workers", raising=False)
    importlib.import_module("uvicorn_worker" if cured else "uvicorn.workers")
