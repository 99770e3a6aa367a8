"""Connections that each request opens anew, or waits for: what is said where none is seen."""

import asyncpg
import pytest
from fastapi import Request, WebSocket
from sqlalchemy.pool import NullPool

from tests.harness.probing import Limits, judged, probed, told
from tests.probes.shop import LIST, READ, shop, skus


def test_connections_that_only_the_database_sees_are_no_ok(sqlite) -> None:
    """libpq and SQLite open theirs past the event loop."""
    app = shop(sqlite.url)
    app.state.pool = {"poolclass": NullPool}
    app.get("/stock")(skus)

    verdicts = probed(app, LIST, wanted="dials")

    assert judged(verdicts, "dials") == {"cannot-tell"}


def test_a_request_that_hangs_for_a_second_connection_says_what_it_holds(sqlite) -> None:
    """A pool of one never gives it."""
    app = shop(sqlite.url)
    app.state.pool = {"pool_size": 1, "max_overflow": 0}

    @app.get("/stock")
    async def stock(request: Request) -> list[str]:
        async with request.state.sessions() as session:
            await session.scalars(READ)
            return await skus(request)

    verdicts = probed(app, LIST, wanted="checkouts", limits=Limits(request=0.3))

    assert "holding a connection taken at tests/probes/" in told(verdicts, "request")


@pytest.mark.parametrize(("stays", "verdict"), [(True, "cannot-tell"), (False, "found")])
def test_a_client_that_stays_may_have_a_connection_of_its_own(postgres_shop, stays, verdict):
    """LISTEN needs one for as long as the WebSocket is open."""
    app = shop()

    @app.websocket("/news")
    async def news(socket: WebSocket) -> None:
        await socket.accept()
        connection = await asyncpg.connect(postgres_shop.url.replace("+asyncpg", ""))
        try:
            if stays:
                await socket.receive()
            await socket.close()
        finally:
            await connection.close()

    limits = Limits(patience=0.05)
    verdicts = probed(app, "WS /news", wanted="dials", limits=limits)

    assert judged(verdicts, "dials") == {verdict}, told(verdicts, "dials")
