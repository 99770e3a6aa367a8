"""Proofs for rules/fastapi/lifespan.md that need what the tests' environment lacks."""

import asyncio
import functools
import os
import sys
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path

import httpx2
import pytest

from tests.harness import confirms, correct
from tests.servers.command import serving
from tests.servers.uvicorn import source_of
from tests.test_versions import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PAGE = "fastapi/lifespan"
OWN = ["fastapi", "starlette", "pydantic", "uvicorn"]
OTHERS = [
    "granian==2.8.9",
    "hypercorn==0.18.0",
    "gunicorn==27.0.1",
    "uvicorn-worker==0.4.0",
    "uvloop==0.23.0",
    "websockets==17.4",
]
PROBE = """
from fastapi import Response

DELAY = 1.5
app = FastAPI(lifespan=lifespan)


@app.get("/readyz")
async def readyz() -> Response:
    return Response(status_code=200 if app.state.ready else 503)
"""
UVICORN = ["-m", "uvicorn", "service:app", "--port", "{port}"]
GUNICORN = ["-m", "gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:{port}"]
GRANIAN = ["granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}"]
DRAINS = {
    "uvloop": [*UVICORN, "--loop", "uvloop"],
    "workers": [*UVICORN, "--workers", "2"],
    "gunicorn": [*GUNICORN, "-w", "2", "service:app"],
}
STOPS = {
    "granian": ["-m", *GRANIAN, "service:app"],
    "hypercorn": ["-m", "hypercorn", "-b", "127.0.0.1:{port}", "service:app"],
    "gunicorn, short": [*GUNICORN, "--graceful-timeout", "1", "service:app"],
}
PUSH = """
import asyncio

from fastapi import FastAPI, WebSocket

app = FastAPI()
alive = 0


@app.websocket("/push")
async def push(socket: WebSocket) -> None:
    global alive
    await socket.accept()
    alive += 1
    news: asyncio.Queue[str] = asyncio.Queue()

    async def send() -> None:
        while True:
            await socket.send_text(await news.get())

    try:
        if "MODE" == "sends":
            await send()
        async with asyncio.TaskGroup() as group:
            sender = group.create_task(send())
            while (await socket.receive())["type"] == "websocket.receive":
                pass
            sender.cancel()
    finally:
        alive -= 1


@app.get("/alive")
async def get_alive() -> int:
    return alive
"""
HELLO = (
    b"GET /push HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
GOODBYE = b"\x88\x80\x00\x00\x00\x00"  # a close frame, masked as a client's must be


@functools.cache
def python() -> Path:
    """An interpreter with these servers, and with our own versions of what is under test."""
    own = [f"{package}=={version(package)}" for package in OWN]
    number = f"{sys.version_info.major}.{sys.version_info.minor}"
    return environment(f"servers-{number}", number, own + OTHERS)


async def status(server, path="/readyz") -> int | None:
    """The answer on a new connection, None when it is refused or cut."""
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=10) as http:
        try:
            return (await http.get(path)).status_code
        except httpx2.TransportError:
            return None


async def answers_after_sigterm(server) -> list[int | None]:
    """The different answers to a probe, in turn, from SIGTERM on until the process has ended."""
    while await status(server) != 200:  # gunicorn listens before its workers are there
        assert await server.stopped(0.02) is False
    server.terminate()
    seen = []
    while not await server.stopped(0.02):
        answer = await status(server)
        seen += [] if seen[-1:] == [answer] else [answer]
        assert len(seen) < 10, "it neither stops nor stays"
    return seen


def save(server, source) -> None:
    """Store the server's source anew, at a time that no file system takes for the one before."""
    path = Path(os.readlink(f"/proc/{server.process.pid}/cwd")) / "service.py"
    path.write_text(source, encoding="utf-8")
    later = path.stat().st_mtime + 5
    os.utime(path, (later, later))


@pytest.mark.parametrize("host", DRAINS)
@confirms(PAGE, "a-shutdown-longer-than-its-grace-period", limit=60)
async def the_drain_works_where_uvicorn_serves(host):
    """On uvloop, in workers and in gunicorn 503 is the first answer but 200 after SIGTERM."""
    source = source_of(correct(PAGE, "drain-before-the-port-closes")) + PROBE
    async with serving(source, [python(), *DRAINS[host]]) as server:
        seen = await answers_after_sigterm(server)

    assert [answer for answer in seen if answer != 200][:1] == [503]


@pytest.mark.parametrize("host", STOPS)
@confirms(PAGE, "a-shutdown-longer-than-its-grace-period", limit=60)
async def another_server_stops_as_ever(host):
    """The process ends by itself; a drain is not done, or cut by gunicorn's own limit."""
    source = source_of(correct(PAGE, "drain-before-the-port-closes")) + PROBE
    source = source.replace("DELAY = 1.5", "DELAY = 30")
    async with serving(source, [python(), *STOPS[host]]) as server:
        seen = await asyncio.wait_for(answers_after_sigterm(server), 20)

    assert (503 in seen) is ("gunicorn" in host)


@confirms(PAGE, "a-shutdown-longer-than-its-grace-period", limit=60)
async def a_reload_waits_for_the_drain():
    """Each save is a SIGTERM: the old process is drained before the new one starts."""
    source = source_of(correct(PAGE, "drain-before-the-port-closes")) + PROBE
    async with serving(source, [sys.executable, *UVICORN, "--reload"]) as server:
        assert await status(server) == 200
        save(server, source + "\n# saved\n")

        while (answer := await status(server)) == 200:
            pass
        assert answer == 503
        while await status(server) != 200:
            pass


@confirms(PAGE, "websockets-that-only-send", limit=60)
async def a_socket_that_only_sends_outlives_its_client_and_holds_uvicorn():
    """Five clients say goodbye: the handlers that read beside the sender end, the others never."""
    async with AsyncExitStack() as stack:
        servers = {
            mode: await stack.enter_async_context(
                serving(PUSH.replace("{mode}", "push").replace("MODE", mode), [python(), *UVICORN])
            )
            for mode in ("sends", "reads")
        }
        http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False))

        async def alive(mode) -> int:
            return (await http.get(servers[mode].url + "/alive")).json()

        for mode, server in servers.items():
            for _ in range(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(HELLO)
                assert b"101" in await reader.readline()
                await reader.readuntil(b"\r\n\r\n")
                while await alive(mode) == 0:
                    pass
                writer.write(GOODBYE)
                assert (await reader.readexactly(2))[0] == 0x88
                writer.close()
        while await alive("reads"):
            pass

        assert await alive("sends") == 5
        await http.aclose()
        for server in servers.values():
            server.terminate()
        assert await servers["reads"].stopped()
        assert not await servers["sends"].stopped(0)
        assert "Waiting for" in servers["sends"].log()


PLAIN = """
from fastapi import FastAPI

app = FastAPI()


@app.get("/readyz")
async def ready() -> None: ...
"""


@confirms(PAGE, "a-shell-before-uvicorn", limit=60)
async def a_shell_keeps_sigterm_to_itself_unless_it_execs():
    """The script without `exec` ends alone, and its uvicorn serves on, not knowing of it."""
    command = f"{sys.executable} -m uvicorn service:app --port {{port}}"
    async with AsyncExitStack() as stack:
        scripts = [f"true\n{exec_}{command}\n" for exec_ in ("", "exec ")]
        calling, replaced = [
            await stack.enter_async_context(serving(PLAIN, ["sh", "start.sh"], script=script))
            for script in scripts
        ]
        for server in (calling, replaced):
            server.terminate()
        assert await replaced.stopped()
        assert await calling.stopped(), "the shell"

        assert "Shutting down" in replaced.log()
        assert await status(calling) == 200
        assert "Shutting down" not in calling.log()
