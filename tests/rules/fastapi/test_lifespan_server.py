"""Proofs of the traps of rules/fastapi/lifespan.md that need a uvicorn process."""

import asyncio
import functools

import httpx2

from tests.harness import confirms, produces
from tests.observers.waiting import until
from tests.servers.uvicorn import uvicorn

PAGE = "fastapi/lifespan"
LIMIT = ("--timeout-graceful-shutdown", "1")
SERVICE = """
import asyncio
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse


def say(text):
    print(f"<{text}>", flush=True)


@asynccontextmanager
async def lifespan(app):
    say("startup")
    yield
    say("closing")


app = FastAPI(lifespan=lifespan)


@app.get("/events")
async def events():
    async def ticks():
        while True:
            yield ": ping\\n\\n"
            await asyncio.sleep(0.05)

    return StreamingResponse(ticks(), media_type="text/event-stream")


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


@functools.cache
def stopped_under_a_stream(patience: float, *arguments: str) -> tuple[bool, str]:
    """Terminate a server with clients; return whether it ends by itself, and its whole log."""

    async def scenario() -> tuple[bool, str]:
        async with (
            uvicorn(SERVICE, *arguments) as server,
            httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as client,
        ):
            async with client.stream("GET", "/events") as events:
                assert (await client.get("/background")).status_code == 200
                slow = asyncio.create_task(client.get("/slow"))
                assert await server.logged("<slow started>")
                server.terminate()
                assert await server.logged("Waiting for")
                alone = await server.stopped(patience)
                assert events.status_code == 200
            slow.cancel()
            await asyncio.wait({slow})
            return alone, server.log()

    return asyncio.run(scenario())


@confirms(PAGE, "streams-outlive-the-shutdown", limit=30)
def only_a_limit_ends_a_server_with_a_stream():
    """Without it the process stays as long as its clients."""
    assert stopped_under_a_stream(1.5)[0] is False
    assert stopped_under_a_stream(10, *LIMIT)[0] is True


@produces(PAGE, "Waiting for connections to close.", limit=30)
def a_server_waits_for_its_clients():
    """Return the log of a server without a limit."""
    return stopped_under_a_stream(1.5)[1]


@produces(PAGE, "timeout graceful shutdown exceeded", limit=30)
def a_server_loses_patience():
    """Return the log of a server with a limit."""
    return stopped_under_a_stream(10, *LIMIT)[1]


@confirms(PAGE, "streams-outlive-the-shutdown", "background-tasks-lost-quietly", limit=30)
def past_the_limit_all_is_cancelled_and_resources_close_under_it():
    """The background task is cancelled, and the lifespan ends before the request cleaned up."""
    log = stopped_under_a_stream(10, *LIMIT)[1]

    assert "<background cancelled>" in log
    assert "<closing>" in log
    assert "<slow cleaned up>" not in log.partition("<closing>")[0]


@confirms(PAGE, "once-per-worker", limit=30)
async def each_worker_runs_the_lifespan():
    """Two workers start twice."""
    async with uvicorn(SERVICE, "--workers", "2") as server:
        assert await until(lambda: server.log().count("<startup>") == 2, limit=15)


@confirms(PAGE, "once-per-worker", limit=30)
def one_process_runs_the_lifespan_once():
    """The control: a server without workers starts once."""
    assert stopped_under_a_stream(10, *LIMIT)[1].count("<startup>") == 1
