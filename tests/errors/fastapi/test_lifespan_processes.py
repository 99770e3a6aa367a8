"""Texts of processes: a second Ctrl+C, dead workers, gunicorn."""

import os
import signal
import sys
from contextlib import suppress

import httpx2
import pytest

from tests.errors.fastapi.causes import texts
from tests.harness.errors import produces
from tests.servers.command import serving
from tests.servers.uvicorn import uvicorn

pytestmark = pytest.mark.slow
LIMIT = 40  # seconds for each step
SERVICE = """
import asyncio
import os
import threading
import time

from fastapi import BackgroundTasks, FastAPI

app = FastAPI()


@app.get("/pid")
async def pid() -> int:
    return os.getpid()


@app.get("/block")
async def block() -> None:
    time.sleep(60)


@app.get("/wait")
async def wait() -> None:
    await asyncio.to_thread(time.sleep, 5)


@app.get("/thread")
async def thread(daemon: bool) -> None:
    threading.Thread(target=time.sleep, args=(60,), daemon=daemon).start()


@app.get("/background")
async def background(tasks: BackgroundTasks) -> None:
    tasks.add_task(asyncio.sleep, 60)
"""
GUNICORN = [sys.executable, "-m", "gunicorn", "-b", "127.0.0.1:{port}", "service:app"]
GUNICORN += ["-t", "3", "--no-control-socket"]
WORKER = ["-k", "uvicorn_worker.UvicornWorker"]


@produces("fastapi", "return await self.receive_queue.get()", limit=50)
async def ctrl_c_is_pressed_twice(cured):
    """A background task keeps the server; a second Ctrl+C ends it without the lifespan."""
    limit = ["--timeout-graceful-shutdown", "1"] if cured else []
    async with uvicorn(SERVICE, *limit) as server:
        await get(server, "/background")
        server.process.send_signal(signal.SIGINT)
        if not cured:
            assert await server.logged("background tasks", LIMIT)
            server.process.send_signal(signal.SIGINT)
        assert await server.stopped(LIMIT)
        return server.log()


@produces("fastapi", "Child process [", limit=50)
async def a_worker_is_killed():
    """One of two workers gets SIGKILL."""
    async with uvicorn(SERVICE, "--workers", "2") as server:
        assert await server.logged("startup complete", LIMIT)
        await kill_a_worker(server)
        assert await server.logged("died", LIMIT)
        return server.log()


@produces("fastapi", "missing 1 required positional argument: 'send'", limit=50)
async def gunicorn_has_no_worker_class(cured):
    """gunicorn calls the application as WSGI."""
    async with serving(SERVICE, GUNICORN + (WORKER if cured else [])) as server:
        await get(server, "/pid")
        return server.log()


@produces("fastapi", "WORKER TIMEOUT", limit=90)
async def a_worker_does_not_report(cured):
    """Its loop is blocked, or it has ended all but a thread."""
    return await texts(cured, an_endpoint_blocks_the_worker, a_thread_outlives_its_worker)


async def a_thread_outlives_its_worker(cured):
    """A worker ends after its requests, and a thread of it goes on."""
    async with serving(SERVICE, [*GUNICORN, *WORKER, "--max-requests", "1"]) as server:
        await get(server, f"/thread?daemon={cured}")
        assert await server.logged("Worker exiting", LIMIT)
        await get(server, "/wait")  # of the next worker, which starts when this one is gone
        assert cured or "WORKER TIMEOUT" in server.log()
        return server.log()


async def an_endpoint_blocks_the_worker(cured):
    """An endpoint blocks the loop, which tells gunicorn that it lives."""
    async with serving(SERVICE, GUNICORN + WORKER) as server:
        if cured:
            await get(server, "/wait")
            return server.log()
        with suppress(httpx2.HTTPError):
            await get(server, "/block")
        assert await server.logged("CRITICAL", LIMIT)
        return server.log()


@produces("fastapi", "was sent SIGKILL! Perhaps out of memory?", limit=50)
async def a_worker_of_gunicorn_is_killed():
    """A worker gets SIGKILL, as from the kernel."""
    async with serving(SERVICE, GUNICORN + WORKER) as server:
        await kill_a_worker(server)
        assert await server.logged("Perhaps", LIMIT)
        return server.log()


@produces("fastapi", "Worker failed to boot", limit=50)
async def a_module_cannot_be_imported(cured):
    """A setting is looked up at import, and it is not there."""
    source = SERVICE if cured else SERVICE + "\nos.environ['NO_SUCH_SETTING']\n"
    async with serving(source, GUNICORN + WORKER) as server:
        if cured:
            await get(server, "/pid")
        else:
            assert await server.logged("Reason:", LIMIT)
        return server.log()


async def kill_a_worker(server):
    os.kill(int((await get(server, "/pid")).text), signal.SIGKILL)


async def get(server, path):
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        return await client.get(server.url + path)
