"""The checkouts probe: what it says of connections that other code takes, uses or opens."""

import asyncio
import re

import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from starlette.responses import Response

from tests.harness.probing import judged, probed, told, traps
from tests.probes.shop import LIST, READ, shop
from tests.probes.test_checkouts import listing


def library():
    """An endpoint whose code lies in an installed package, which takes a connection and waits."""
    source = """async def work(request):
    async with request.state.sessions() as session:
        await session.scalars(READ)
        await sleep(0.04)
    return Response()"""
    calls: dict = {"READ": READ, "Response": Response, "sleep": asyncio.sleep}
    exec(compile(source, "/venv/site-packages/accounts/users.py", "exec"), calls)  # noqa: S102
    return calls["work"]


def test_a_librarys_connections_of_a_nullpool_are_the_readers_to_judge(postgres_shop) -> None:
    """The package dials by its driver's code, and still both are one place."""
    app = shop(postgres_shop.url)
    app.state.pool = {"poolclass": NullPool}
    app.add_route("/stock", library())

    verdicts = probed(app, LIST, wanted="dials")

    assert judged(verdicts, "dials") == {"cannot-tell"}, told(verdicts, "dials")


def test_a_librarys_line_is_named_where_none_is_the_users(sqlite) -> None:
    """What an installed package does on its own is not said to be at the start of the task."""
    app = shop(sqlite.url)
    app.add_route("/stock", library())

    verdicts = probed(app, LIST, wanted="checkouts")

    assert "taken at accounts.users:3 work" in told(verdicts, "checkouts")


def test_a_wait_for_a_task_that_uses_the_connection_is_no_idle_connection(sqlite) -> None:
    """A request gathers two lookups, of which one sends statements on its session."""

    async def work(request):
        async with request.state.sessions() as session:
            await session.scalars(READ)
            await asyncio.gather(statements(session), asyncio.sleep(0))

    async def statements(session):
        for _ in range(8):
            await session.scalars(READ)

    verdicts = probed(listing(sqlite, work), LIST, wanted="checkouts")

    assert judged(verdicts, "checkouts") == {"ok"}, told(verdicts, "checkouts")


@pytest.mark.filterwarnings("ignore")
def test_an_engine_a_request_is_named_and_is_no_second_connection_of_the_pool(sqlite) -> None:
    """A report on another database while a session is open: its pool is another one."""

    async def work(request):
        async with request.state.sessions() as session:
            await session.scalars(READ)
            await report()

    async def report():
        engine = create_async_engine(sqlite.url)
        async with engine.connect() as connection:
            await connection.execute(READ)
        await engine.dispose()

    verdicts = probed(listing(sqlite, work), LIST, wanted="checkouts")

    assert traps(verdicts) - {"sqlalchemy/sessions#slow-call-inside-the-block"} == {
        "pooling/database#one-engine-in-the-lifespan"
    }
    assert re.search(
        r"opened at tests/probes/test_checkouts_told.py:\d+ report", told(verdicts, "checkouts")
    )
