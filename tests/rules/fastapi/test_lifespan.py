"""Proofs of the resources, the probes and the drain in rules/fastapi/lifespan.md."""

import asyncio
import threading
from urllib.parse import urlsplit

import httpx2
import pytest
from fastapi import FastAPI, Request, Response
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.harness import confirms, proves
from tests.observers.asgi import request, running
from tests.observers.connections import backends, falls_to
from tests.observers.waiting import turns, until
from tests.servers.uvicorn import source_of, uvicorn

PAGE = "fastapi/lifespan"
DSN = "postgresql://app:hunter2@db/app"
PROBE = """
from fastapi import Response

DELAY = 0.5
app = FastAPI(lifespan=lifespan)


@app.get("/readyz")
async def readyz() -> Response:
    return Response(status_code=200 if app.state.ready else 503)
"""


@proves(PAGE, "close-whatever-was-opened")
async def a_failure_leaves_connections_open(half, postgres):
    """After a failing close or second open; a silent database is awaited past the limit."""
    half.LIMIT = 5
    url, backends_at_close, fails = postgres.asyncpg, [], set()
    engines = []

    class Cache:
        async def aclose(self) -> None:
            backends_at_close.append(len(await backends(postgres.url)))
            if "close" in fails:
                raise ConnectionError("cannot close the cache")

    async def open_cache() -> Cache:
        if "open" in fails:
            raise ConnectionError("cannot open the cache")
        return Cache()

    def create_engine():
        engines.append(create_async_engine(url))
        return engines[-1]

    app = FastAPI(lifespan=half.lifespan)
    app.state.create_engine, app.state.open_cache = create_engine, open_cache

    @app.get("/")
    async def answer(request: Request) -> int:
        assert isinstance(request.state.cache, Cache)
        async with request.state.engine.connect() as connection:
            return await connection.scalar(text("SELECT 42"))

    async def run() -> str:
        """Serve one request; return the error of startup or shutdown."""
        try:
            async with running(app) as state:
                assert (await request(app, state=state)).json() == 42
        except RuntimeError as error:
            return str(error)
        return ""

    assert await run() == ""
    assert backends_at_close == [1], "the cache is closed first"
    assert await falls_to(0, postgres.url)

    symptoms = set()
    for failure in ("close", "open"):
        fails = {failure}
        assert f"cannot {failure} the cache" in await run()
        if engines[-1].pool.checkedin():  # a disposed engine has a new pool
            symptoms.add(failure)
            assert await backends(postgres.url)
            await engines[-1].dispose()
        assert await falls_to(0, postgres.url)

    half.LIMIT = 0.03
    async with Silenced(urlsplit(url).port) as proxy:
        proxy.silent = True
        url = url.replace(f":{urlsplit(url).port}", f":{proxy.port}")
        start = asyncio.create_task(run())
        await asyncio.wait({start}, timeout=0.3)
        await turns(20)
        symptoms |= set() if start.done() else {"start"}
        start.cancel()
        await asyncio.wait({start})
    assert symptoms in (set(), {"close", "open", "start"})
    return bool(symptoms)


@proves(PAGE, "readiness-that-answers")
async def a_faulty_dependency_spoils_the_probes(half):
    """A dependency that fails, then hangs, is hidden, disclosed, waited for or shared."""
    state, cache_checks, released = "up", 0, asyncio.Event()

    async def database():
        if state == "down":
            raise OSError(f"cannot connect to {DSN}")
        if state == "silent":
            try:
                await asyncio.Event().wait()
            finally:
                await released.wait()  # a driver's cleanup, which a timeout waits for

    async def cache():
        nonlocal cache_checks
        cache_checks += 1

    half.LIMIT = 0.03
    app, checks = FastAPI(), {"checks": [database, cache]}
    app.include_router(half.router)
    for path in ("/livez", "/readyz"):
        assert (await request(app, path, state=checks)).status == 200
    assert cache_checks > 0
    symptoms = set()

    state = "down"
    down = await request(app, "/readyz", state=checks)
    symptoms |= {"200"} if down.status == 200 else set()
    symptoms |= {"secret"} if b"hunter2" in down.body else set()
    assert down.status in (200, 503)

    state, cache_checks = "silent", 0
    probes = {
        path: asyncio.create_task(request(app, path, state=checks))
        for path in ("/livez", "/readyz")
    }
    await asyncio.wait(probes.values(), timeout=0.3)
    await turns(20)  # should both timers be late, as on a busy machine
    symptoms |= {path for path, probe in probes.items() if not probe.done()}
    symptoms |= {"sequence"} if not cache_checks else set()
    if probes["/readyz"].done():
        assert probes["/readyz"].result().status == 503

    state = "up"
    released.set()
    for probe in probes.values():
        probe.cancel()
    await asyncio.wait(probes.values())
    assert (await request(app, "/readyz", state=checks)).status == 200
    assert symptoms in (set(), {"200", "secret", "/livez", "/readyz", "sequence"})
    return bool(symptoms)


@proves(PAGE, "drain-before-the-port-closes", limit=30)
async def a_new_connection_is_refused_before_a_probe_saw_503(half):
    """After SIGTERM the first answer that is not 200 is a closed port."""
    app = FastAPI(lifespan=half.lifespan)

    @app.get("/readyz")
    async def readyz() -> Response:
        return Response(status_code=200 if app.state.ready else 503)

    async with running(app):
        assert (await request(app, "/readyz")).status == 200

    async def probe(client) -> int | None:
        try:
            return (await client.get("/readyz", headers={"Connection": "close"})).status_code
        except httpx2.TransportError:
            return None

    async with (
        uvicorn(source_of(half) + PROBE, "--lifespan", "on") as server,
        httpx2.AsyncClient(base_url=server.url, trust_env=False) as client,
    ):
        assert await probe(client) == 200

        server.terminate()
        while (answer := await probe(client)) == 200:
            pass
        assert await server.stopped()

        return answer != 503


@confirms(PAGE, "probes-that-hang")
async def a_def_liveness_waits_for_a_thread():
    """With 40 sync handlers at work only the async route answers."""
    app, gate, busy = FastAPI(), threading.Event(), []

    @app.get("/work")
    def work() -> None:
        busy.append(1)
        gate.wait(8)

    @app.get("/sync")
    def sync() -> None: ...

    @app.get("/async")
    async def not_sync() -> None: ...

    workers = [asyncio.create_task(request(app, "/work")) for _ in range(40)]
    assert await until(lambda: len(busy) == 40)
    probe = asyncio.create_task(request(app, "/sync"))
    answer = await request(app, "/async")
    await asyncio.wait({probe}, timeout=0.1)

    assert (answer.status, probe.done()) == (200, False)
    gate.set()
    assert (await probe).status == 200
    await asyncio.wait(workers)


class Silenced:
    """A TCP proxy that passes bytes until it is told to swallow them."""

    def __init__(self, port: int) -> None:
        self.target, self.silent, self.tasks = port, False, set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_) -> None:
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def accept(self, reader, writer) -> None:
        self.tasks.add(asyncio.create_task(self.relay(reader, writer)))

    async def relay(self, reader, writer) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)

        async def copy(source, target):
            while data := await source.read(65536):
                if not self.silent:
                    target.write(data)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(copy(reader, server_writer))
                group.create_task(copy(server_reader, writer))
        finally:
            writer.transport.abort()
            server_writer.transport.abort()


@pytest.mark.filterwarnings("ignore")  # the drivers leave their attempts to cancel behind
@confirms(PAGE, "probes-that-hang")
async def a_timeout_waits_for_a_drivers_cleanup(postgres):
    """Once the server is silent, a check goes on at many times its timeout, on both drivers."""
    port = urlsplit(postgres.url).port

    async def check(engine, limit) -> None:
        async with asyncio.timeout(limit), engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async with Silenced(port) as proxy:
        urls = [
            url.replace(f":{port}", f":{proxy.port}")
            for url in (postgres.asyncpg, postgres.psycopg)
        ]
        engines = [create_async_engine(url) for url in urls]
        for engine in engines:
            await check(engine, 5)
        proxy.silent = True
        tasks = [asyncio.create_task(check(engine, 0.03)) for engine in engines]
        await asyncio.wait(tasks, timeout=0.3)
        await turns(20)

        assert not any(task.done() for task in tasks)
    await asyncio.wait(tasks)
    assert all(task.exception() is not None for task in tasks)
    for engine in engines:
        await engine.dispose()
