"""Traps of asyncio/cancellation under anyio, Starlette and uvicorn."""

import asyncio

import anyio
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from tests.harness import confirms, correct
from tests.observers import asgi
from tests.observers.canceller import cancelled_at
from tests.observers.waiting import reached, turns, until
from tests.servers.uvicorn import uvicorn

RULE = "asyncio/cancellation"


async def stream_until_disconnect(cleanup):
    """Disconnect from a streaming response; return how far its cleanup came."""
    app = FastAPI()
    begun, gone = asyncio.Event(), asyncio.Event()
    log = []

    async def flush():
        log.append("begun")
        await turns()
        log.append("flushed")

    @app.get("/")
    async def stream():
        async def body():
            try:
                yield b"x"
                begun.set()
                await asyncio.sleep(60)
            finally:
                await cleanup(flush)

        return StreamingResponse(body())

    exchange = asyncio.create_task(asgi.request(app, disconnect=gone))
    await reached(begun, exchange)
    gone.set()
    await asyncio.wait({exchange}, timeout=5)
    return list(log)


@confirms(RULE, "anyio-scopes-cancel-every-await", "a-disconnect-cancels-only-streams")
async def only_an_anyio_shield_protects_a_streams_cleanup():
    """In a cancelled stream a plain await and asyncio.shield are cut, an anyio shield is not."""
    finish = correct(RULE, "cleanup-that-must-finish").finish

    async def plain(flush):
        await flush()

    async def shielded(flush):
        await asyncio.shield(flush())

    async def in_scope(flush):
        with anyio.CancelScope(shield=True):
            await finish(flush())

    assert await stream_until_disconnect(plain) == ["begun"]
    assert "flushed" not in await stream_until_disconnect(shielded)
    assert await stream_until_disconnect(in_scope) == ["begun", "flushed"]


@confirms(RULE, "anyio-scopes-cancel-every-await")
async def a_plain_tasks_cleanup_survives_one_cancel():
    """Without anyio one cancel leaves the cleanup whole; a second one cuts it."""

    async def far(*points):
        log = []

        async def job():
            try:
                await asyncio.sleep(60)
            finally:
                log.append("begun")
                await turns()
                log.append("flushed")

        await cancelled_at(job(), *points)
        return log

    assert await far(1) == ["begun", "flushed"]
    assert await far(1, 2) == ["begun"]


@confirms(RULE, "anyio-scopes-cancel-every-await")
async def finish_alone_spins_in_an_anyio_scope():
    """Without the anyio shield `finish` is woken by a new cancellation each turn of the loop."""
    finish = correct(RULE, "cleanup-that-must-finish").finish

    async def suspensions(*, shield):
        cleaned = []

        async def flush():
            await turns(50)
            cleaned.append(True)

        async def job():
            with anyio.CancelScope() as scope:
                scope.cancel()
                with anyio.CancelScope(shield=shield):
                    await finish(flush())

        run = await cancelled_at(job())
        assert cleaned
        return run.suspensions

    assert await suspensions(shield=False) > 20
    assert await suspensions(shield=True) == 1


@confirms(RULE, "a-disconnect-cancels-only-streams")
async def a_plain_handler_runs_to_its_end():
    """After a disconnect a plain handler goes on; it notices only by asking."""
    app = FastAPI()
    started, gone = asyncio.Event(), asyncio.Event()
    log = []

    @app.get("/")
    async def plain(request: Request):
        log.append(await request.is_disconnected())
        started.set()
        await gone.wait()
        await turns(20)
        log.append(await request.is_disconnected())

    exchange = asyncio.create_task(asgi.request(app, disconnect=gone))
    await reached(started, exchange)
    gone.set()
    await asyncio.wait({exchange}, timeout=5)

    assert log == [False, True]


SERVICE = """
import asyncio, os, signal
from contextlib import asynccontextmanager
from fastapi import FastAPI

@asynccontextmanager
async def lifespan(app):
    before = signal.getsignal(signal.SIGTERM)

    def handle():
        print("signal seen")
        if "FORWARD" in os.environ:
            before(signal.SIGTERM, None)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, handle)
    yield
    print("lifespan closed")

app = FastAPI(lifespan=lifespan)
"""


@pytest.mark.slow  # two servers
@confirms(RULE, "signal-handler-in-a-lifespan", limit=40)
async def a_signal_handler_in_the_lifespan_keeps_the_server_up():
    """uvicorn stops only where the lifespan's handler calls the one it replaced."""
    forwarding_server = uvicorn(SERVICE, env={"FORWARD": "1"})
    async with uvicorn(SERVICE) as deaf, forwarding_server as forwarding:
        deaf.terminate()
        assert await deaf.logged("signal seen")
        forwarding.terminate()
        assert await forwarding.stopped()
        assert "lifespan closed" in forwarding.log()

        deaf.terminate()
        assert await until(lambda: deaf.log().count("signal seen") == 2)
        assert "lifespan closed" not in deaf.log()
