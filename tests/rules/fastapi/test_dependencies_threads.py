"""Confirmations of the traps of fastapi/dependencies about threads and limits."""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Annotated, Any

import anyio.to_thread
import pytest
from fastapi import Depends, FastAPI

from tests.harness import confirms
from tests.observers.asgi import request
from tests.observers.waiting import reached, turns

RULE = "fastapi/dependencies"


@confirms(RULE, "services-built-in-threads")
@pytest.mark.parametrize("kind", ["def", "class", "async"])
async def a_service_built_in_a_thread_waits_for_slow_endpoints(kind):
    """With every thread taken, a `def` provider or a class waits; an async provider does not."""
    app, release, taken = FastAPI(), threading.Event(), asyncio.Event()
    loop, threads = asyncio.get_running_loop(), anyio.to_thread.current_default_thread_limiter()
    assert threads.total_tokens == 40

    class Orders:
        """A service."""

    def provide() -> Orders:
        return Orders()

    async def provide_async() -> Orders:
        return Orders()

    provider = {"def": provide, "class": Orders, "async": provide_async}[kind]

    @app.get("/slow")
    def slow() -> None:
        loop.call_soon_threadsafe(taken.set)
        release.wait(5)

    @app.get("/")
    async def fast(orders: Annotated[Orders, Depends(provider)]) -> str:
        return "served"

    threads.total_tokens = 1
    other = asyncio.create_task(request(app, "/slow"))
    try:
        await reached(taken, other)
        task = asyncio.create_task(request(app))
        await asyncio.wait({task}, timeout=5 if kind == "async" else 0.2)
        served = task.done()
    finally:
        release.set()
        await other

    assert (await task).json() == "served"
    assert served is (kind == "async")


@confirms(RULE, "services-built-in-threads")
async def a_context_variable_set_in_a_thread_is_lost():
    """What a `def` provider sets is gone in the endpoint; what an async one sets is there."""
    tenant = ContextVar("tenant", default="nobody")
    app = FastAPI()

    def bind() -> None:
        tenant.set("acme")

    async def bind_async() -> None:
        tenant.set("acme")

    async def read() -> str:
        return tenant.get()

    app.get("/lost", dependencies=[Depends(bind)])(read)
    app.get("/kept", dependencies=[Depends(bind_async)])(read)

    # Each request in a task of its own, as under a server.
    lost, kept = [await asyncio.create_task(request(app, path)) for path in ("/lost", "/kept")]

    assert (lost.json(), kept.json()) == ("nobody", "acme")


@confirms(RULE, "max-concurrency")
async def two_slots_in_one_request_wait_for_each_other():
    """A limit belongs to a `Depends` object; needing its only slot twice hangs without an end."""
    if "max_concurrency" not in inspect.signature(Depends).parameters:
        pytest.skip("needs FastAPI 0.163")
    running, peak = 0, 0

    async def connection() -> AsyncIterator[None]:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await turns()
        yield
        running -= 1

    async def use(first: Any, second: Any = None) -> None:
        await turns()

    def app(first: Any, second: Any) -> FastAPI:
        async def nested(outer: first, inner: second) -> None: ...

        async def use_first(one: first) -> None:
            await turns()

        async def use_second(one: second) -> None:
            await turns()

        app = FastAPI()
        app.get("/nested")(nested)
        app.get("/first")(use_first)
        app.get("/second")(use_second)
        return app

    def limited(**options: Any) -> Any:
        return Annotated[None, Depends(connection, max_concurrency=1, **options)]

    async def peak_of(app: FastAPI) -> int:
        nonlocal peak
        peak = 0
        await asyncio.gather(*(request(app, path) for path in ("/first", "/second") * 3))
        return peak

    shared = limited()
    assert await peak_of(app(limited(), limited())) == 2
    assert await peak_of(app(shared, shared)) == 1

    twice = limited(use_cache=False)
    hanging = asyncio.create_task(request(app(twice, twice), "/nested"))
    done, _ = await asyncio.wait({hanging}, timeout=0.3)
    hanging.cancel()
    await asyncio.wait({hanging})
    assert not done
    assert (await request(app(shared, shared), "/nested")).status == 200
