"""The service in examples/orders as its users run it: a uvicorn process, on each database."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from uuid import uuid4

import httpx2
import pytest

from tests.observers.round_trips import round_trips
from tests.servers.orders import SITE, Backend, Service, serving

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backend:
    """Each database in turn, empty."""
    if request.param == "sqlite":
        return Backend(f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('sqlite')}/orders.db")
    database = request.getfixturevalue("postgres_database")
    database.empty()
    return Backend(database.asyncpg, database)


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


def test_a_preflight_has_its_line_too(service: Service) -> None:
    """What CORS answers by itself is logged, with an id that the browser may read."""
    asked = {"Access-Control-Request-Method": "POST"}
    answer = service.client.options("/orders", headers=asked)
    (line,) = service.access(answer.headers["x-request-id"])

    assert (answer.status_code, line["status"], line["method"]) == (200, 200, "OPTIONS")


def test_a_line_of_another_logger_names_its_request(service: Service) -> None:
    """The warning about a carrier carries the id of the request that asked it."""
    path, rid = f"/orders/{service.place().json()['id']}/quotes", uuid4().hex
    headers = {"X-Request-ID": rid}
    service.run(asyncio.to_thread(service.client.get, path, headers=headers))

    assert f"WARNING {rid} orders.main: no quote from gone" in service.server.log()


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


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_a_request_waits_for_the_database_as_seldom_as_it_can(backend: Backend) -> None:
    """One round trip for an order, one for a page; four for a new order with its lines."""
    assert backend.postgres
    with round_trips(backend.url) as relay, serving(Backend(relay.url)) as service:
        orders = [service.place().json() for _ in range(2)]
        after = {"after": [orders[0]["placed"], orders[0]["id"]]}

        def count(send: Callable[[], httpx2.Response]) -> int:
            send()  # the driver prepares the statement
            before = relay.count
            assert send().is_success
            return relay.count - before

        counted = [
            count(lambda: service.client.get(f"/orders/{orders[0]['id']}")),
            count(lambda: service.client.get("/orders")),
            count(lambda: service.client.get("/orders", params=after)),
            count(service.place),
        ]

    assert counted == [1, 1, 1, 4]


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
