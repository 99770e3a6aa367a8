"""What asyncio/cancellation says of clients that go away, under uvicorn."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from tests.harness import confirms
from tests.servers.uvicorn import uvicorn

RULE = "asyncio/cancellation"

# `inner` is the same application below a BaseHTTPMiddleware.
SERVICE = """
import asyncio
from fastapi import FastAPI, HTTPException, Request

released = asyncio.Event()

async def work(name):
    print(name, "started")
    try:
        await released.wait()
        print(name, "ran to its end")
        if name.endswith("bad"):
            raise HTTPException(409)
        return name
    except asyncio.CancelledError:
        print(name, "was cancelled")
        raise

async def watch(request):
    while (await request.receive())["type"] != "http.disconnect":
        pass

async def plain(name: str, body: dict):
    return await work(name)

async def watched(name: str, body: dict, request: Request):
    return await while_connected(name, request)

async def bare(name: str, request: Request):
    return await while_connected(name, request)

async def while_connected(name, request):
    tasks = [asyncio.create_task(work(name)), asyncio.create_task(watch(request))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            return tasks[0].result()
        raise HTTPException(499)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        print(name, "left nothing", all(task.done() for task in tasks))

async def polled(name: str, body: dict, request: Request):
    print(name, "started")
    polls = []
    while not released.is_set() or len(polls) < 50:
        polls.append(await request.is_disconnected())
        await asyncio.sleep(0)
    print(name, "saw", any(polls))

async def release():
    released.set()

def create_app():
    app = FastAPI()
    for handler in (plain, watched, polled):
        app.post("/" + handler.__name__ + "/{name}")(handler)
    app.get("/bare/{name}")(bare)
    app.post("/release")(release)
    return app

app, inner = create_app(), create_app()
app.mount("/inner", inner)

@inner.middleware("http")
async def dispatch(request, call_next):
    return await call_next(request)
"""

WATCHED = [
    ("outer", "/watched/", b"{}"),
    ("below", "/inner/watched/", b"{}"),
    ("got", "/bare/", b""),
    ("got-below", "/inner/bare/", b""),
]


@asynccontextmanager
async def client(server, path, body=b"{}", length=2):
    """Send a request and hand over its reader; leaving the block is leaving the server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"{'POST' if length else 'GET'} {path} HTTP/1.1\r\nHost: x\r\n"
    if length:
        head += f"Content-Type: application/json\r\nContent-Length: {length}\r\n"
    writer.write(f"{head}\r\n".encode() + body)
    await writer.drain()
    try:
        yield reader
    finally:
        writer.close()


async def leave(server, path, body=b"{}"):
    """Go away while the handler of this path is at work; no body makes it a GET."""
    async with client(server, path, body, len(body)):
        assert await server.logged(f"{path.rpartition('/')[2]} started")


async def status(server, path):
    """The status line's code, for a client that stays."""
    async with client(server, path) as reader:
        return int((await reader.readline()).split()[1])


@confirms(RULE, "a-disconnect-cancels-only-streams", limit=40)
async def a_watcher_ends_what_a_plain_handler_would_finish():
    """After its client left a plain handler goes on; one that waits for both ends its work."""
    async with uvicorn(SERVICE) as server:
        await leave(server, "/plain/patient")
        for name, path, body in WATCHED:
            await leave(server, path + name, body)
            assert await server.logged(f"{name} left nothing True")
            assert f"{name} was cancelled" in server.log()
        assert "patient was cancelled" not in server.log()
        assert await status(server, "/release") == 200
        assert await server.logged("patient ran to its end")

        codes = [await status(server, f"{path}/watched/b") for path in ("", "/inner")]
        assert codes == [200, 200]
        codes = [await status(server, f"{path}/watched/bad") for path in ("", "/inner")]
        assert codes == [409, 409]


@pytest.mark.slow
@confirms(RULE, "a-disconnect-cancels-only-streams", limit=40)
async def polling_below_a_base_http_middleware_sees_nothing():
    """A poll notices that the client left, but not below a BaseHTTPMiddleware."""
    async with uvicorn(SERVICE) as server:
        await leave(server, "/inner/polled/below")
        await leave(server, "/polled/direct")
        # Its client went last: when this one is noticed, so are the other two.
        await leave(server, "/inner/watched/last")
        assert await server.logged("last left nothing True")
        assert await status(server, "/release") == 200
        assert await status(server, "/inner/release") == 200

        assert await server.logged("direct saw True")
        assert await server.logged("below saw False")
