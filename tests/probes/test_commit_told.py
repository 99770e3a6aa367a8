"""What the commit probe says where the order of things misleads, or the words decide."""

import contextlib

import pytest
from fastapi import BackgroundTasks, Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.middleware.base import BaseHTTPMiddleware

from tests.harness.probing import judged, probed, told, traps
from tests.probes.shop import ORDER, WRITE, shop

LATE = "fastapi/dependencies#one-session-alias"


async def in_a_transaction(request: Request):
    async with request.state.sessions.begin() as session:
        yield session


def ordering(store, scope):
    """A shop whose orders are committed by a dependency with this scope."""
    app = shop(store.url)
    taken = Depends(in_a_transaction, scope=scope)

    @app.post("/orders", status_code=204)
    async def order(sku: str, session: AsyncSession = taken) -> None:
        await session.execute(WRITE, {"sku": sku})

    return app


@pytest.mark.parametrize(("scope", "expected"), [("request", {LATE}), ("function", set())])
def test_a_commit_behind_a_middleware_that_holds_the_response_is_late(
    store, scope, expected
) -> None:
    """The client has read nothing yet when it fails, and is told 204 all the same."""
    app = ordering(store, scope)

    async def passing(request, call_next):
        return await call_next(request)

    for _ in range(3):
        app.add_middleware(BaseHTTPMiddleware, dispatch=passing)

    verdicts = probed(app, ORDER, wanted="commit")

    assert traps(verdicts) == expected, told(verdicts, "commit")


def test_a_mail_that_fails_after_the_response_takes_the_row_with_it(sqlite) -> None:
    """The error of a background task ends the dependency's block: it is the evidence."""
    app = shop(sqlite.url)
    taken = Depends(in_a_transaction)

    async def mail() -> None:
        raise ConnectionError("no mail server")

    @app.post("/orders", status_code=201)
    async def order(sku: str, tasks: BackgroundTasks, session: AsyncSession = taken) -> None:
        await session.execute(WRITE, {"sku": sku})
        tasks.add_task(mail)

    verdicts = probed(app, ORDER, wanted="commit")

    assert traps(verdicts) == {LATE}
    assert "ConnectionError('no mail server')" in told(verdicts, "commit")


async def by_the_session(sessions, sku):
    async with sessions() as session:
        await session.execute(WRITE, {"sku": sku})
        await session.rollback()


async def by_the_transaction(sessions, sku):
    async with sessions() as session:
        transaction = await session.begin()
        await session.execute(WRITE, {"sku": sku})
        await transaction.rollback()


async def by_an_error(sessions, sku):
    with contextlib.suppress(LookupError):
        async with sessions.begin() as session:
            await session.execute(WRITE, {"sku": sku})
            raise LookupError


async def by_its_end(sessions, sku):
    async with sessions() as session:
        await session.execute(WRITE, {"sku": sku})


@pytest.mark.parametrize(
    ("work", "verdict"),
    [
        (by_the_session, "cannot-tell"),
        (by_the_transaction, "cannot-tell"),
        (by_an_error, "found"),
        (by_its_end, "found"),
    ],
)
def test_a_rollback_by_its_name_may_be_a_dry_run(store, work, verdict) -> None:
    """Whoever calls rollback() means it; a block that is left by an error or its end may not."""
    app = shop(store.url)

    @app.post("/orders", status_code=201)
    async def order(sku: str, request: Request) -> None:
        await work(request.state.sessions, sku)

    verdicts = probed(app, ORDER, wanted="commit")

    assert judged(verdicts, "commit") == {verdict}, told(verdicts, "commit")
