"""The assembled service at the end of a real server."""

import asyncio

import httpx2
import pytest

from tests.harness.judge import run
from tests.servers.uvicorn import uvicorn

SERVICE = """
import asyncio, os
import sqlalchemy as sa
from tests.rules.assembled import Passing, alias, cleanup, make_api, serve
from tests.servers.postgres import Database

api = make_api(Database(os.environ["POSTGRES"]))

@api.post("/orders")
async def order(session: alias.Session) -> None:
    await session.execute(sa.text("INSERT INTO stock VALUES ('nut')"))

    async def work() -> None:
        print("locked")
        await asyncio.sleep(60)

    async def unlock() -> None:
        await asyncio.sleep(0.3)
        print("unlocked")

    await cleanup.locked(work, unlock)

app = serve(api, Passing)
"""


@pytest.mark.slow
def test_a_request_that_shutdown_cuts_is_undone_and_unlocked(postgres):
    """Real uvicorn at its graceful timeout: unlock first, rollback, no connection left."""
    postgres.execute("CREATE TABLE stock (sku text)")

    async def stopped() -> str:
        environ, options = {"POSTGRES": postgres.url}, ["--timeout-graceful-shutdown", "1"]
        async with uvicorn(SERVICE, "--lifespan", "on", *options, env=environ) as server:
            async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as client:
                asking = asyncio.create_task(client.post("/orders", timeout=20))
                assert await server.logged("locked")
                server.terminate()
                assert await server.stopped()
                await asyncio.wait([asking])
            return server.log()

    log = run(stopped, 30)

    assert "unlocked" in log
    assert postgres.execute("SELECT count(*) FROM stock") == [(0,)]
    theirs = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'orders'"
    )
    assert postgres.execute(theirs) == [(0,)]
