"""The statements probe: which text runs once for each row."""

import pytest
from fastapi import Request
from sqlalchemy import text

from tests.harness.probing import judged, probed, told
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


@pytest.mark.parametrize(
    ("work", "verdict"),
    [
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
