"""Proofs of the traps of rules/fastapi/lifespan.md that need a uvicorn process."""

import asyncio
import functools
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx2
import pytest

from tests.harness import confirms
from tests.observers.waiting import until
from tests.servers.uvicorn import uvicorn

pytestmark = pytest.mark.slow  # two servers, and a graceful timeout

PAGE = "fastapi/lifespan"
LIMIT = ("--timeout-graceful-shutdown", "1")
STREAM = """
import asyncio
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route


def say(text):
    print(f"<{text}>", flush=True)


@asynccontextmanager
async def lifespan(app):
    say("startup")
    yield
    say("closing")


async def events(request):
    async def ticks():
        while True:
            yield ": ping\\n\\n"
            await asyncio.sleep(0.05)

    return StreamingResponse(ticks(), media_type="text/event-stream")


routes = [Route("/events", events)]
app = Starlette(routes=routes, lifespan=lifespan)
"""
SERVICE = f"""{STREAM}
from fastapi import BackgroundTasks, FastAPI

app = FastAPI(routes=routes, lifespan=lifespan)


@app.get("/slow")
async def slow():
    say("slow started")
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.2)
        say("slow cleaned up")


@app.get("/background")
async def background(tasks: BackgroundTasks):
    async def work():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            say("background cancelled")
            raise

    tasks.add_task(work)
"""


@dataclass(frozen=True)
class Outcome:
    """How two terminated servers ended, each with a client that reads a stream."""

    outlived: bool  # the one without a limit, the one with it
    let_go: bool  # the one without a limit ended once its client left
    without_limit: str  # its log
    limited: str


@functools.cache
def outcome() -> Outcome:
    """Terminate a server with a limit, and one with two workers and none, under their clients."""

    async def scenario() -> Outcome:
        async with AsyncExitStack() as stack:
            limited, endless = await asyncio.gather(
                *(
                    stack.enter_async_context(uvicorn(*arguments))
                    for arguments in ((SERVICE, *LIMIT), (STREAM, "--workers", "2"))
                )
            )
            client = await stack.enter_async_context(
                httpx2.AsyncClient(trust_env=False, timeout=20)
            )
            assert await until(lambda: endless.log().count("<startup>") == 2, limit=15)
            async with client.stream("GET", endless.url + "/events") as events:
                async with client.stream("GET", limited.url + "/events"):
                    background = await client.get(limited.url + "/background")
                    slow = asyncio.create_task(client.get(limited.url + "/slow"))
                    assert await limited.logged("<slow started>")
                    assert (events.status_code, background.status_code) == (200, 200)
                    for server in (endless, limited):
                        server.terminate()
                    assert await endless.logged("Waiting for")
                    assert await limited.stopped()
                    outlived = not await endless.stopped(0)
                slow.cancel()
                await asyncio.wait({slow})
            return Outcome(outlived, await endless.stopped(), endless.log(), limited.log())

    return asyncio.run(scenario())


@confirms(PAGE, "streams-outlive-the-shutdown", limit=30)
def only_a_limit_ends_a_server_with_a_stream():
    """Without it the process stays as long as its client, and outlives one with it."""
    assert outcome().outlived
    assert outcome().let_go


@confirms(PAGE, "streams-outlive-the-shutdown", "background-tasks-lost-quietly", limit=30)
def past_the_limit_all_is_cancelled_and_resources_close_under_it():
    """The background task is cancelled, and the lifespan ends before the request cleaned up."""
    log = outcome().limited

    assert "timeout graceful shutdown exceeded" in log
    assert "<background cancelled>" in log
    assert "<closing>" in log
    assert "<slow cleaned up>" not in log.partition("<closing>")[0]


@confirms(PAGE, "once-per-worker", limit=30)
def each_worker_runs_the_lifespan():
    """Two workers start twice, and a server without workers once."""
    assert outcome().without_limit.count("<startup>") == 2
    assert outcome().limited.count("<startup>") == 1
