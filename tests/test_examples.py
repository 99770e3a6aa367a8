"""The service in examples/orders as its users run it: a uvicorn process, on each database."""

import asyncio
import json
import os
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest

from tests.harness import ROOT
from tests.servers.http import Answer, CountingServer, Request
from tests.servers.postgres import Database
from tests.servers.uvicorn import Server, uvicorn

EXAMPLES = ROOT / "examples"
USAGE = (EXAMPLES / "orders" / "__init__.py").read_text("utf-8").replace("\\\n", "").splitlines()
COMMANDS = [shlex.split(line) for line in USAGE if line.startswith("    ")]
SITE = "https://shop.example"
PROBLEM = "application/problem+json"
SOURCE = """
from orders.main import create_app
async def crash():
    raise RuntimeError("a detail of ours")
def app():
    service = create_app()
    service.add_api_route("/crash", crash)
    return service
"""


@dataclass(frozen=True)
class Backend:
    """A database for the example."""

    url: str
    postgres: Database | None = None

    def lock(self) -> Any:
        """A context in which nobody else reads orders."""
        if self.postgres:
            connection: Any = psycopg.connect(self.postgres.url)
            connection.execute("LOCK TABLE orders")
        else:
            connection = sqlite3.connect(self.url.partition("///")[2], isolation_level=None)
            connection.execute("BEGIN EXCLUSIVE")
        return closing(connection)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backend:
    """Each database in turn, empty."""
    if request.param == "sqlite":
        return Backend(f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('sqlite')}/orders.db")
    database = request.getfixturevalue("postgres_database")
    database.empty()
    return Backend(database.asyncpg, database)


@dataclass(frozen=True)
class Service:
    """The running example, a client of it, and `run` for what is asynchronous."""

    server: Server
    client: httpx2.Client
    run: Callable[[Coroutine[Any, Any, Any]], Any]

    def place(self, reference: str = "", **headers: str) -> httpx2.Response:
        lines = [{"sku": "nut", "quantity": 2}, {"sku": "bolt", "quantity": 3}]
        body = {"reference": reference or uuid4().hex, "lines": lines}
        return self.client.post("/orders", json=body, headers=headers)

    def access(self, request_id: str) -> list[dict[str, Any]]:
        """The access lines with this id, once there is one."""
        self.run(self.server.logged(f'"{request_id}"'))
        lines = [json.loads(line) for line in self.server.log().splitlines() if line[:1] == "{"]
        return [line for line in lines if line["request_id"] == request_id]


async def carrier(request: Request) -> Answer:
    """Quotes five items, or answers nonsense, or not at all, or fails."""
    if request.path.startswith("/late"):
        await asyncio.Event().wait()
    answers = {"/quick?items=5": Answer(b'"4.20"'), "/nonsense?items=5": Answer(b"[")}
    return answers.get(request.path, Answer(status=500))


@contextmanager
def serving(backend: Backend) -> Iterator[Service]:
    """The documented commands, with a small pool and short waits."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())

        def enter(context: Any) -> Any:
            entered = runner.run(context.__aenter__())
            stack.callback(lambda: runner.run(context.__aexit__(None, None, None)))
            return entered

        carriers = enter(CountingServer(carrier))
        urls = {name: f"{carriers.url}/{name}" for name in ("quick", "nonsense", "broken", "late")}
        urls["gone"] = "http://127.0.0.1:1"
        env = {"ORDERS_DATABASE_URL": backend.url, "ORDERS_CARRIERS": json.dumps(urls)}
        env |= {"ORDERS_POOL_SIZE": "2", "ORDERS_POOL_TIMEOUT": "0.2"}
        env |= {"ORDERS_QUOTE_SECONDS": "0.7", "ORDERS_DRAIN_SECONDS": "0.5"}
        env |= {"ORDERS_CORS_ORIGINS": json.dumps([SITE]), "PYTHONPATH": f"{EXAMPLES}:{ROOT}"}
        # Most of what the processes do is import: keep what was compiled, but not in examples/.
        env |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{ROOT}/.cache/bytecode"}
        _, tables, serve = COMMANDS
        with subprocess.Popen([sys.executable, *tables[1:]], env=os.environ | env) as creating:
            server = enter(uvicorn(SOURCE, *serve[2:], env=env))
            assert creating.wait(timeout=20) == 0
        client = httpx2.Client(base_url=server.url, trust_env=False, headers={"Origin": SITE})
        yield Service(server, stack.enter_context(client), runner.run)


@pytest.fixture(scope="module")
def services(backend: Backend) -> Iterator[Callable[[], Service]]:
    """Gives the running example, and starts another when a test has ended it."""
    with ExitStack() as stack:
        running: list[Service] = []

        def latest() -> Service:
            if not running or running[-1].server.process.poll() is not None:
                running.append(stack.enter_context(serving(backend)))
            return running[-1]

        yield latest


@pytest.fixture
def service(services: Callable[[], Service]) -> Service:
    """The example as a process that serves."""
    return services()


def told(response: httpx2.Response) -> tuple[int, str, str]:
    """What a problem says: the status on the line, the media type, the title."""
    return response.status_code, response.headers["content-type"], response.json()["title"]


def test_an_order_is_read_as_it_was_placed(service: Service) -> None:
    """What POST answers is what GET answers, and its times have a zone."""
    placed = service.place("first")
    read = service.client.get(f"/orders/{placed.json()['id']}")

    assert (placed.status_code, read.json(), read.json()["edited"][-1]) == (201, placed.json(), "Z")


def test_pages_hold_every_order_once(service: Service) -> None:
    """Following the Link headers shows the orders of this test once, oldest first."""
    references = [service.place().json()["reference"] for _ in range(5)]
    url, seen = httpx2.URL("/orders?limit=2"), []
    while url:
        page = service.client.get(url)
        seen += [order["reference"] for order in page.json() if len(order["lines"]) == 2]
        link = page.links.get("next")
        url = page.url.join(link["url"]) if link else None

    assert [reference for reference in seen if reference in references] == references


def test_a_repeated_order_is_refused_and_counted(service: Service) -> None:
    """The duplicate is a 409, and what the same unit of work wrote besides is stored."""
    first = service.place("once").json()
    second = service.place("once")
    counted = service.client.get(f"/orders/{first['id']}").json() | {"edited": first["edited"]}

    assert (told(second), counted) == ((409, PROBLEM, "Conflict"), first | {"repeats": 1})


def test_an_invalid_body_is_not_echoed(service: Service) -> None:
    """A 422 says where and what, without what was sent."""
    answer = service.client.post("/orders", json={"reference": "hunter2" * 20, "lines": []})
    places = [error["loc"][1] for error in answer.json()["errors"]]
    expected = (PROBLEM, ["reference", "lines"], False)

    assert (told(answer)[1], places, "hunter2" in answer.text) == expected


@pytest.mark.parametrize("path", ["/nowhere", "/orders/{}", "/orders/{}/quotes"])
def test_what_is_not_there_is_a_problem(service: Service, path: str) -> None:
    """An unknown path and an unknown order get the same kind of 404."""
    answer = service.client.get(path.format(uuid4()))

    assert told(answer) == (404, PROBLEM, "Not Found")


def test_a_crash_can_be_traced(service: Service) -> None:
    """A 500 reaches the browser with the id under which the log has the traceback."""
    answer = service.client.get("/crash")
    (line,) = service.access(answer.headers["x-request-id"])
    told_where = ["a detail of ours" in text for text in (answer.text, line["error"])]
    origin = answer.headers["access-control-allow-origin"]

    assert (*told(answer)[:2], origin, told_where) == (500, PROBLEM, SITE, [False, True])


def test_a_crash_leaves_the_connection(service: Service) -> None:
    """The next request of the client, or of others behind its proxy, is not reset."""
    answers = [service.client.get(path) for path in ("/livez", "/crash", "/livez")]
    streams = [answer.extensions["network_stream"] for answer in answers]

    assert len({stream.get_extra_info("client_addr") for stream in streams}) == 1


@pytest.mark.parametrize(("sent", "kept"), [("a-1", True), ('"}\\n', False), ("a" * 65, False)])
def test_a_sane_request_id_is_echoed(service: Service, sent: str, kept: bool) -> None:
    """The caller's id comes back, unless it would spoil the log."""
    echoed = service.client.get("/livez", headers={"X-Request-ID": sent}).headers["x-request-id"]

    assert (echoed == sent) is kept


def test_each_request_has_one_access_line(service: Service) -> None:
    """One line of JSON with method, route and status, however the request ended."""
    ids = [uuid4().hex for _ in range(3)]
    service.place(**{"X-Request-ID": ids[0]})
    for request_id, path in zip(ids[1:], (f"/orders/{uuid4()}", "/crash"), strict=True):
        service.client.get(path, headers={"X-Request-ID": request_id})
    lines = [line for request_id in ids for line in service.access(request_id)]
    seen = [f"{line['method']} {line['route']} {line['status']}" for line in lines]

    assert seen == ["POST /orders 201", "GET /orders/{key} 404", "GET /crash 500"]


def test_quotes_that_fail_or_are_late_are_missing(service: Service) -> None:
    """The carrier that answers in time is quoted, whatever happens to the others."""
    path = f"/orders/{service.place().json()['id']}/quotes"
    # From a thread: the carriers live in the loop of this one.
    quotes = service.run(asyncio.to_thread(service.client.get, path)).json()

    assert quotes == dict.fromkeys(["nonsense", "broken", "late", "gone"]) | {"quick": "4.20"}


def test_a_busy_pool_is_a_503(service: Service, backend: Backend) -> None:
    """While others hold both connections, a request is told to come back."""

    async def scenario() -> list[httpx2.Response]:
        async with httpx2.AsyncClient(base_url=service.server.url, trust_env=False) as client:
            with backend.lock():
                requests = [asyncio.create_task(client.get("/orders")) for _ in range(3)]
                await asyncio.wait(requests, timeout=5, return_when=asyncio.FIRST_COMPLETED)
            return sorted(await asyncio.gather(*requests), key=lambda answer: answer.status_code)

    *served, refused = service.run(scenario())
    statuses = [answer.status_code for answer in served]
    retry = refused.headers["retry-after"]

    assert (statuses, *told(refused)[:2], retry) == ([200, 200], 503, PROBLEM, "1")


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_a_lost_database_fails_readiness_only(service: Service, backend: Backend) -> None:
    """Without its database the process lives on, and is ready again when that is back."""
    assert backend.postgres
    name = backend.postgres.url.rpartition("/")[2]
    server, seen = backend.postgres.named("postgres"), []
    theirs = f"FROM pg_stat_activity WHERE datname = '{name}'"
    for allowed in ("true", "false", "true"):
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}")
        server.execute(f"SELECT pg_terminate_backend(pid, 5000) {theirs}")
        seen += [service.client.get(path).status_code for path in ("/readyz", "/livez")]

    assert seen == [200, 200, 503, 200, 200, 200]


def test_sigterm_drains(service: Service, backend: Backend) -> None:
    """Readiness fails while requests are served, one in flight is answered, the process ends."""

    async def scenario() -> tuple[int, bool]:
        async with httpx2.AsyncClient(base_url=service.server.url, trust_env=False) as client:

            async def ready_is(status: int) -> None:
                while (await client.get("/readyz")).status_code != status:
                    pass

            with backend.lock():
                in_flight = asyncio.create_task(client.get("/orders"))
                await ready_is(200)
                service.server.terminate()
                await ready_is(503)
                closed = await service.server.logged("Waiting for connections to close")
            return (await in_flight).status_code, closed and await service.server.stopped()

    answered = service.run(asyncio.wait_for(scenario(), 10))

    assert (answered, "shutdown complete" in service.server.log()) == ((200, True), True)
