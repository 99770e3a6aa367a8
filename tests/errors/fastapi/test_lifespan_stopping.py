"""Texts of a server that is stopped, and of requests that it does not serve."""

import asyncio
import contextlib
import ssl

import aiohttp
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse

from tests.errors.fastapi.threaded import threaded
from tests.harness.errors import produces

SHORT = 0.2  # seconds; the command takes whole ones


@produces("fastapi", "Waiting for connections to close.")
async def a_stream_is_open_at_the_end(cured):
    """A client reads a stream when the server stops; a stream that reads the flag has ended."""
    app = FastAPI()
    app.state.ready = True

    @app.get("/")
    async def stream():
        async def ticks():
            while app.state.ready:
                yield ": ping\n\n"
                await asyncio.sleep(0.01)

        return StreamingResponse(ticks(), media_type="text/event-stream")

    with threaded(app, timeout_graceful_shutdown=SHORT) as server:
        async with aiohttp.request("GET", f"http://{server.address}/") as response:
            await response.content.readany()
            if cured:
                app.state.ready = False
                await response.read()
            await server.stop()


@produces("fastapi", "timeout graceful shutdown exceeded")
async def a_request_is_longer_than_the_shutdown(cured):
    """The server stops, and a request takes longer than it waits."""
    app, stopping = FastAPI(), asyncio.Event()

    @app.get("/")
    async def slow() -> None:
        loop.call_soon_threadsafe(stopping.set)
        await asyncio.sleep(60 if not cured else 0.3)

    loop = asyncio.get_running_loop()
    options = {"timeout_graceful_shutdown": 8 if cured else SHORT}
    with threaded(app, **options) as server, contextlib.suppress(aiohttp.ClientError):
        async with asyncio.TaskGroup() as group:
            group.create_task(get(f"http://{server.address}/"))
            await stopping.wait()
            await server.stop()


@produces("fastapi", "Waiting for background tasks to complete.")
async def a_background_task_never_ends(cured):
    """An endless job runs as a background task; the lifespan could own it."""

    async def refresh():
        while True:
            await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI):
        task = asyncio.create_task(refresh())
        yield
        task.cancel()
        await asyncio.wait([task])

    app = FastAPI(lifespan=lifespan if cured else None)

    @app.get("/")
    async def start(tasks: BackgroundTasks) -> None:
        if not cured:
            tasks.add_task(refresh)

    with threaded(app, lifespan="on", timeout_graceful_shutdown=SHORT) as server:
        await get(f"http://{server.address}/")
        await server.stop()


@produces("fastapi", "Exceeded concurrency limit.")
async def a_connection_is_one_too_many(cured):
    """A proxy's idle connection takes a place of the limit."""
    with threaded(FastAPI(), limit_concurrency=9 if cured else 2) as server:
        _, idle = await asyncio.open_connection(*server.address.split(":"))
        assert await get(f"http://{server.address}/") == (404 if cured else 503)
        idle.close()


@produces("fastapi", "Invalid HTTP request received.")
async def https_reaches_an_http_port(cured):
    """The client starts TLS, and the port speaks HTTP."""
    with threaded(FastAPI()) as server:
        if cured:
            await get(f"http://{server.address}/")
            return
        with contextlib.suppress(ssl.SSLError):
            tls = ssl.create_default_context()
            await asyncio.open_connection(*server.address.split(":"), ssl=tls)


async def get(url):
    """The status of an answer."""
    async with aiohttp.request("GET", url) as response:
        return response.status
