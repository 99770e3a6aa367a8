"""The statements probe: which text runs once for each row."""

import asyncio

import pytest
from fastapi import Request
from fastapi.responses import StreamingResponse
from sqlalchemy import inspect, text

from tests.harness.probing import Limits, judged, probed, told
from tests.probes.shop import READ, WRITE, shop

LIST = "GET /stock"
ONE = text("SELECT sku FROM stock WHERE sku = :sku")


def listing(store, work):
    app = shop(store.url)

    @app.get("/stock")
    async def stock(request: Request) -> None:
        async with request.state.sessions() as session:
            await work(session)

    return app


async def one_by_one(session):
    for sku in list(await session.scalars(READ)):
        await session.scalars(ONE, {"sku": sku})


async def with_literals(session):
    for sku in list(await session.scalars(READ)):
        await session.scalars(text(f"SELECT sku FROM stock WHERE sku = '{sku}'"))


async def at_once(session):
    await session.scalars(READ)


async def three_writes(session):
    """One INSERT a row is what SQLite's dialect does for a list of children, too."""
    await session.scalars(READ)
    for sku in "xyz":
        await session.execute(WRITE, {"sku": sku})


async def two_rows(session):
    await session.scalars(text("SELECT sku FROM stock LIMIT 2"))


async def reflected(session):
    """What SQLAlchemy asks of the catalogue to know a table is no row of the user's."""
    await session.scalars(READ)
    connection = await session.connection()
    await connection.run_sync(lambda sync: [inspect(sync).get_columns("stock") for _ in "abc"])


@pytest.mark.parametrize(
    ("work", "verdict"),
    [
        (reflected, "ok"),
        (one_by_one, "found"),
        (with_literals, "found"),
        (at_once, "ok"),
        (three_writes, "ok"),
        (two_rows, "cannot-tell"),
    ],
)
def test_a_statement_for_each_row_is_found(sqlite, work, verdict) -> None:
    """By its text, with other parameters or literals; with few rows nothing can be told."""
    verdicts = probed(listing(sqlite, work), LIST, wanted="statements")

    assert judged(verdicts, "statements") == {verdict}, told(verdicts, "statements")


def test_the_numbers_are_told(sqlite) -> None:
    """How many times, from which line, for how many rows."""
    verdicts = probed(listing(sqlite, one_by_one), LIST, wanted="statements")

    said = told(verdicts, "statements")
    assert "4 times with 4 different values at tests/probes/test_statements.py:" in said


def test_rows_of_asyncpg_are_counted(postgres_shop) -> None:
    """Its adapter keeps them where another driver's cursor would count."""
    verdicts = probed(listing(postgres_shop, at_once), LIST, wanted="statements")

    assert judged(verdicts, "statements") == {"ok"}, told(verdicts, "statements")


async def events(sessions):
    """An endless stream that asks anew for each part."""
    while True:
        async with sessions() as session:
            yield str(list(await session.scalars(READ)))
        await asyncio.sleep(0.01)


async def in_tasks(sessions):
    """A task for each part of a page, on a session of its own."""

    async def one(sku):
        async with sessions() as session:
            return await session.scalar(ONE, {"sku": sku})

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(sku)) for sku in "abc"]
    yield str([task.result() for task in tasks])


@pytest.mark.parametrize("parts", [events, in_tasks])
def test_polls_and_a_fan_out_cannot_be_told_from_a_statement_for_each_row(sqlite, parts) -> None:
    """The same text comes again in the next part of a stream, or in another task."""
    app = shop(sqlite.url)

    @app.get("/stock")
    async def stock(request: Request) -> StreamingResponse:
        return StreamingResponse(parts(request.state.sessions))

    limits = Limits(patience=0.1)
    verdicts = probed(app, LIST, wanted="statements", limits=limits)

    assert judged(verdicts, "statements") == {"cannot-tell"}, told(verdicts, "statements")
    assert "test_statements.py:" in told(verdicts, "statements")
