"""Proofs of the drain in rules/fastapi/lifespan.md, of who hears SIGTERM and what ends then."""

import asyncio
import re
import signal
import threading
from asyncio.selector_events import BaseSelectorEventLoop
from contextlib import AsyncExitStack, asynccontextmanager
from inspect import signature

import httpx2
import pytest
from fastapi import FastAPI, Response
from uvicorn import Config, Server

from tests.harness import confirms, correct, pages, proves
from tests.observers.asgi import request, running
from tests.observers.waiting import until
from tests.servers.ports import free_port
from tests.servers.uvicorn import source_of, uvicorn

PAGE = "fastapi/lifespan"
PAIR = "drain-before-the-port-closes"
SETTLES = "cleanup-that-must-finish"
PROBE = """
from fastapi import Response

DELAY = 0.5
app = FastAPI(lifespan=lifespan)


@app.get("/readyz")
async def readyz() -> Response:
    return Response(status_code=200 if app.state.ready else 503)


@app.get("/work")
async def work() -> None: ...
"""
STREAM = """
from starlette.responses import StreamingResponse

app = FastAPI(lifespan=lifespan)


@app.get("/events")
async def events() -> StreamingResponse:
    async def ticks():
        while app.state.ready:
            yield ": ping\\n\\n"
            await asyncio.sleep(0.05)

    return StreamingResponse(ticks(), media_type="text/event-stream")
"""


def client(server, **options) -> httpx2.AsyncClient:
    """A client that opens a connection for each request."""
    headers = {"Connection": "close"}
    return httpx2.AsyncClient(base_url=server.url, trust_env=False, headers=headers, **options)


async def status(http, path) -> int | None:
    """The answer on a new connection, None when it is refused."""
    try:
        return (await http.get(path)).status_code
    except httpx2.TransportError:
        return None


@proves(PAGE, PAIR, limit=30)
async def a_new_connection_is_refused_before_a_probe_saw_503(half):
    """After SIGTERM a closed port is the first answer but 200, or no work is done after 503."""
    app = FastAPI(lifespan=half.lifespan)

    @app.get("/readyz")
    async def readyz() -> Response:
        return Response(status_code=200 if app.state.ready else 503)

    async with running(app):
        assert (await request(app, "/readyz")).status == 200

    async with (
        uvicorn(source_of(half) + PROBE, "--lifespan", "on") as server,
        client(server) as http,
    ):
        assert await status(http, "/readyz") == 200

        server.terminate()
        while (answer := await status(http, "/readyz")) == 200:
            pass
        work = await status(http, "/work")
        assert await server.stopped()

        return (answer, work) != (503, 200)


@pytest.fixture
def sigterm():
    """SIGTERM's handler is put back, whatever a test made of it."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_another_servers_handler_is_left_alone(sigterm) -> None:
    """In a program that stops by a handler of its own loop, that handler still hears SIGTERM."""
    app = FastAPI(lifespan=correct(PAGE, PAIR).lifespan)

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        async with running(app):
            signal.raise_signal(signal.SIGTERM)
            await asyncio.wait_for(stop.wait(), 5)

    asyncio.run(serve())

    assert app.state.ready


def test_the_drain_needs_no_loop_that_handles_signals(sigterm) -> None:
    """This class is what Windows' loops are made of, which have no `add_signal_handler`."""
    half = correct(PAGE, PAIR)
    app = FastAPI(lifespan=half.lifespan)
    server, half.DELAY = Server(Config(app)), 0.2
    signal.signal(signal.SIGTERM, server.handle_exit)

    async def serve() -> list[tuple[bool, bool]]:
        async with running(app):
            signal.raise_signal(signal.SIGTERM)
            assert await until(lambda: not app.state.ready)
            draining = app.state.ready, server.should_exit
            assert await until(lambda: server.should_exit)
            return [draining, (app.state.ready, server.should_exit)]

    with asyncio.Runner(loop_factory=BaseSelectorEventLoop) as runner:
        seen = runner.run(serve())

    assert seen == [(False, False), (False, True)]


@pytest.mark.filterwarnings("ignore:The anyio")  # Starlette 0.50, when imported
def test_a_lifespan_starts_in_a_thread_whatever_the_main_thread_handles(sigterm) -> None:
    """TestClient runs it beside a handler of the test runner's."""
    from fastapi.testclient import TestClient

    signal.signal(signal.SIGTERM, lambda *_: None)
    app, threads = FastAPI(lifespan=correct(PAGE, PAIR).lifespan), []

    @app.get("/")
    async def answer() -> None:
        threads.append(threading.current_thread())

    with TestClient(app) as http:
        assert http.get("/").status_code == 200
    assert threads != [threading.main_thread()]


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.2, 0])  # 0 as after a preStop sleep
@confirms(PAGE, "streams-outlive-the-shutdown", limit=30)
async def a_stream_that_reads_the_flag_ends_in_the_drain(delay):
    """No graceful timeout is needed, and the client stays until its stream has ended."""
    source = f"{source_of(correct(PAGE, PAIR))}{STREAM}\nDELAY = {delay}\n"
    async with uvicorn(source) as server, client(server, timeout=20) as http:
        async with http.stream("GET", "/events") as events:
            chunks = events.aiter_bytes()
            assert b"ping" in await anext(chunks)
            server.terminate()
            async for _ in chunks:
                pass
        assert await server.stopped()


@asynccontextmanager
async def in_this_process(**options):
    """The port of a uvicorn that runs on this loop; enter and leave several like a stack."""
    config = Config(FastAPI(), port=free_port(), log_level="critical", **options)
    server = Server(config)
    task = asyncio.create_task(server.serve())
    assert await until(lambda: server.started or task.done())
    try:
        yield config.port
    finally:
        server.should_exit = True
        await task


@pytest.mark.slow
def test_an_idle_connection_is_closed_after_the_keep_alive() -> None:
    """Of two idle connections the one whose server has the shorter limit is closed, alone."""

    async def ends() -> list[bool]:
        async with AsyncExitStack() as stack:
            readers = []
            for seconds in (1, 75):
                port = await stack.enter_async_context(in_this_process(timeout_keep_alive=seconds))
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                stack.callback(writer.close)
                writer.write(b"HEAD / HTTP/1.1\r\nHost: test\r\n\r\n")
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404")
                readers.append(reader)
            assert await asyncio.wait_for(readers[0].read(), 8) == b""
            return [reader.at_eof() for reader in readers]

    found = asyncio.run(ends())

    assert found == [True, False]
    assert Config(FastAPI()).timeout_keep_alive == 5


@confirms(PAGE, "a-shutdown-longer-than-its-grace-period")
def the_numbers_of_the_pages_fit_the_grace_period():
    """What the halves take at most is the sum the page names, and the grace it asks for is more."""
    text = pages()[PAGE].path.read_text(encoding="utf-8")
    graceful, total, grace = (
        int(re.search(pattern, text)[1])
        for pattern in (
            r"--timeout-graceful-shutdown (\d+)",
            r"(\d+) in all",
            r"terminationGracePeriodSeconds: (\d+)",
        )
    )
    delay = correct(PAGE, PAIR).DELAY
    close = correct(PAGE, "close-whatever-was-opened").LIMIT
    drain = source_of(correct("asyncio/taskgroup", "own-background-tasks"))
    jobs = sum(map(int, re.search(r"in \((\d+), (\d+)\)", drain).groups()))
    settle = correct("asyncio/cancellation", SETTLES).settle
    cancelled = signature(settle).parameters["limit"].default

    assert delay + graceful + jobs + cancelled + 2 * close == total < grace
