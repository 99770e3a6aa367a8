"""The commit probe: who is told what when a COMMIT fails."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from fastapi import BackgroundTasks, Depends, HTTPException, Request, WebSocket
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from tests.harness.probing import Limits, found, judged, probed, told, traps
from tests.probes.shop import ORDER, WRITE, shop, skus

STORED = text("SELECT sku FROM stock WHERE sku = :sku")


def ordering(store, work):
    """A shop whose orders are taken by `work(session, sku)`."""
    app = shop(store.url)

    @app.post("/orders", status_code=201)
    async def order(sku: str, request: Request) -> None:
        await work(request.state.sessions, sku)

    return app


async def swallowing(sessions, sku):
    with contextlib.suppress(SQLAlchemyError):
        async with sessions.begin() as session:
            await session.execute(WRITE, {"sku": sku})


async def telling(sessions, sku):
    try:
        async with sessions.begin() as session:
            await session.execute(WRITE, {"sku": sku})
    except SQLAlchemyError as error:
        raise HTTPException(503) from error


async def repeating(sessions, sku):
    await giving_up(sessions, sku)
    async with sessions() as session:
        if await session.scalar(STORED, {"sku": sku}) is None:
            raise HTTPException(503)


async def giving_up(sessions, sku):
    for _ in range(3):
        try:
            async with sessions.begin() as session:
                await session.execute(WRITE, {"sku": sku})
        except IntegrityError:
            continue
        return


async def forgetting(sessions, sku):
    async with sessions() as session:
        await session.execute(WRITE, {"sku": sku})


@pytest.mark.parametrize(
    ("work", "verdict"),
    [
        (swallowing, "found"),
        (telling, "ok"),
        (repeating, "ok"),
        (giving_up, "found"),
        (forgetting, "found"),
    ],
)
def test_a_row_that_is_lost_is_found(store, work, verdict) -> None:
    """By a swallowed error, a forgotten commit, or a retry that gives up without a word."""
    verdicts = probed(ordering(store, work), ORDER, wanted="commit")

    assert judged(verdicts, "commit") == {verdict}


def test_the_refused_run_stores_nothing(store) -> None:
    """Five plain runs store their rows, the one whose COMMIT is refused none."""
    before = store.rows()
    probed(ordering(store, telling), ORDER, wanted="commit")

    assert store.rows() - before == 5


def test_the_place_is_the_users_line_though_sqlalchemy_commits_in_its_own_task(sqlite) -> None:
    """A block left by `async with` is committed in a task that has no frame of the user's."""
    verdicts = probed(ordering(sqlite, telling), ORDER, wanted="commit")

    assert "tests/probes/test_commit.py:" in told(verdicts, "commit")


def test_a_commit_of_a_background_task_is_told_apart(sqlite) -> None:
    """It runs after the response, by design: the remedy is a queue, not another scope."""
    app = shop(sqlite.url)

    async def store_it(sessions, sku):
        await telling(sessions, sku)

    @app.post("/orders", status_code=201)
    async def order(sku: str, request: Request, tasks: BackgroundTasks) -> None:
        tasks.add_task(store_it, request.state.sessions, sku)

    verdicts = probed(app, ORDER, wanted="commit")

    assert traps(verdicts) == {"fastapi/lifespan#queue-the-job-with-its-row"}


def test_a_commit_in_a_task_that_outlives_the_response_cannot_be_told_of(sqlite) -> None:
    """A job that is accepted with its row goes on by itself: only the row was promised."""
    jobs = set()

    async def finish(sessions, sku):
        await asyncio.sleep(0.01)
        async with sessions.begin() as session:
            await session.execute(WRITE, {"sku": f"{sku} is done"})

    async def accept(sessions, sku):
        await telling(sessions, sku)
        jobs.add(asyncio.create_task(finish(sessions, sku)))

    app, patient = ordering(sqlite, accept), Limits(settle=10)
    verdicts = probed(app, ORDER, wanted="commit", limits=patient)

    assert judged(verdicts, "commit") == {"ok", "cannot-tell"}, told(verdicts, "commit")
    assert "finish runs after the response" in told(verdicts, "commit")


@pytest.mark.parametrize(("scope", "verdict"), [("request", "found"), ("function", "ok")])
def test_a_sync_session_is_seen_in_its_thread(sqlite, scope, verdict) -> None:
    """A `def` endpoint and a `def` dependency run in threads, their COMMIT too."""
    app = shop()
    engine = create_engine(sqlite.url.replace("+aiosqlite", ""))

    def get_session() -> Iterator[Session]:
        with Session(engine) as session, session.begin():
            yield session

    taken = Depends(get_session, scope=scope)

    @app.post("/orders", status_code=201)
    def order(sku: str, session: Session = taken) -> None:
        session.execute(WRITE, {"sku": sku})

    try:
        verdicts = probed(app, ORDER, wanted="commit")
    finally:
        engine.dispose()

    assert judged(verdicts, "commit") == {verdict}


@pytest.mark.parametrize("code", [1011, 1000])
def test_a_websocket_that_is_closed_for_an_error_is_told(sqlite, code) -> None:
    """A close code says how it went, where an answer has a status."""
    app = shop(sqlite.url)

    @app.websocket("/orders")
    async def orders(socket: WebSocket, sku: str) -> None:
        await socket.accept()
        try:
            await telling(socket.state.sessions, sku)
        except HTTPException:
            await socket.close(code)
        else:
            await socket.close()

    verdicts = probed(app, "WS /orders?sku={{uuid}}", wanted="commit")

    assert judged(verdicts, "commit") == {"found" if code == 1000 else "ok"}


def test_a_websocket_that_goes_on_cannot_be_told_of(sqlite) -> None:
    """Its client leaves: there is nobody to tell."""
    app = shop(sqlite.url)

    @app.websocket("/orders")
    async def orders(socket: WebSocket, sku: str) -> None:
        await socket.accept()
        await telling(socket.state.sessions, sku)
        await socket.receive()

    limits = Limits(patience=0.05)
    verdicts = probed(app, "WS /orders?sku={{uuid}}", wanted="commit", limits=limits)

    assert judged(verdicts, "commit") == {"cannot-tell"}


def test_a_request_that_writes_nothing_cannot_be_told_of(sqlite) -> None:
    """Without a transaction that wrote there is no COMMIT to refuse."""
    app = shop(sqlite.url)
    app.get("/stock")(skus)

    verdicts = probed(app, "GET /stock", wanted="commit")

    assert judged(verdicts, "commit") == {"cannot-tell"}


def test_a_rollback_of_the_users_is_not_broken_by_the_probe(store) -> None:
    """A connection that was invalidated has no `info`; the application's rollback goes through."""
    app = shop(store.url)

    @app.post("/orders", status_code=201)
    async def order(sku: str, request: Request) -> None:
        async with request.state.sessions() as session:
            await session.execute(WRITE, {"sku": sku})
            await (await session.connection()).invalidate()
            await session.rollback()

    verdicts = probed(app, ORDER, wanted="commit")

    assert not found(verdicts)


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_write_that_commits_itself_is_not_said_to_be_rolled_back(store, everywhere) -> None:
    """In AUTOCOMMIT the ROLLBACK with which SQLAlchemy gives the connection back undoes nothing."""
    app, level = shop(store.url), {"isolation_level": "AUTOCOMMIT"}
    app.state.pool = level if everywhere else {}

    @app.post("/orders", status_code=201)
    async def order(sku: str, request: Request) -> None:
        engine = request.state.engine
        engine = engine if everywhere else engine.execution_options(**level)
        async with engine.connect() as connection:
            await connection.execute(WRITE, {"sku": sku})

    verdicts = probed(app, ORDER, wanted="commit checkouts")

    assert judged(verdicts, "commit") == {"cannot-tell"}, told(verdicts, "commit")
