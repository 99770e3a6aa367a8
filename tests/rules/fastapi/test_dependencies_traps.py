"""Confirmations of the traps of fastapi/dependencies; test_eras.py has those of its versions."""

from collections.abc import AsyncIterator, Awaitable, Callable
from types import ModuleType
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from tests.harness import confirms, correct, incorrect
from tests.observers.asgi import Exchange, request
from tests.observers.failing_commit import refuse_commit

RULE = "fastapi/dependencies"
PAIR = "one-session-alias"
INSERT = text("INSERT INTO orders (sku) VALUES ('a') RETURNING id")
Call = Callable[[FastAPI], Awaitable[Exchange]]


@pytest.fixture
def call(postgres) -> Call:
    """Send GET / to an application whose state has sessions on a table of orders."""
    postgres.execute("CREATE TABLE orders (id serial PRIMARY KEY, sku text NOT NULL)")

    async def call(app: FastAPI) -> Exchange:
        engine = create_async_engine(postgres.asyncpg)
        try:
            return await request(app, state={"sessions": async_sessionmaker(engine)})
        finally:
            await engine.dispose()

    return call


@confirms(RULE, "two-scopes-for-one-provider")
async def an_endpoint_and_its_repository_get_two_sessions(call):
    """The session of a dependency is another one than the endpoint's, unless both use the alias."""
    half = correct(RULE, PAIR)

    def app(repository_session: Any) -> FastAPI:
        app = FastAPI()

        async def repository(session: repository_session) -> AsyncSession:
            return session

        @app.get("/")
        async def same(
            session: half.Session, other: Annotated[AsyncSession, Depends(repository)]
        ) -> bool:
            return session is other

        return app

    bare = await call(app(Annotated[AsyncSession, Depends(half.get_session)]))
    shared = await call(app(half.Session))

    assert (bare.json(), shared.json()) == (False, True)


@confirms(RULE, "swallowed-exceptions")
async def a_commit_in_finally_stores_a_failed_request(call, postgres):
    """What a request wrote before its 409 is stored by `finally`, and not by the rule's session."""

    async def careless(request: Request) -> AsyncIterator[AsyncSession]:
        async with request.state.sessions() as session:
            try:
                yield session
            finally:
                await session.commit()

    async def stored(alias: Any) -> int:
        app = FastAPI()

        @app.get("/")
        async def conflict(session: alias) -> None:
            await session.execute(INSERT)
            raise HTTPException(409)

        assert (await call(app)).status == 409
        return len(postgres.execute("DELETE FROM orders RETURNING id"))

    assert await stored(Annotated[AsyncSession, Depends(careless, scope="function")]) == 1
    assert await stored(correct(RULE, PAIR).Session) == 0


@confirms(RULE, "streams-and-tasks-in-the-default-scope")
async def a_background_task_runs_before_the_commit(call):
    """The task sees no row in the default scope, and one in function scope."""

    async def seen(half: ModuleType) -> str | None:
        app, rows = FastAPI(), []

        async def look(sessions: async_sessionmaker[AsyncSession], order: int) -> None:
            async with sessions() as session:
                sku = text("SELECT sku FROM orders WHERE id = :id")
                rows.append(await session.scalar(sku, {"id": order}))

        @app.get("/")
        async def create(request: Request, tasks: BackgroundTasks, session: half.Session) -> None:
            order = await session.scalar(INSERT)
            tasks.add_task(look, request.state.sessions, order)

        assert (await call(app)).status == 200
        return rows[0]

    assert await seen(incorrect(RULE, PAIR)) is None
    assert await seen(correct(RULE, PAIR)) == "a"


@confirms(RULE, "streams-and-tasks-in-the-default-scope")
async def a_default_scoped_session_is_out_until_the_last_byte(call):
    """While the last byte is sent its connection is checked out; in function scope it is not."""

    async def held(half: ModuleType) -> list[int]:
        app, held = FastAPI(), []

        @app.get("/")
        async def stream(session: half.Session) -> StreamingResponse:
            await session.execute(text("SELECT 1"))

            async def lines() -> AsyncIterator[str]:
                held.append(session.bind.pool.checkedout())
                yield "a"
                held.append(session.bind.pool.checkedout())

            return StreamingResponse(lines())

        assert (await call(app)).body == b"a"
        return held

    assert await held(incorrect(RULE, PAIR)) == [1, 1]
    assert await held(correct(RULE, PAIR)) == [0, 0]


@confirms(RULE, "explicit-commits")
async def a_statement_after_a_commit_needs_a_session_without_begin(call, postgres):
    """With `sessions()` two transactions fit in a request; in `begin()` the second one raises."""

    async def provide(request: Request) -> AsyncIterator[AsyncSession]:
        async with request.state.sessions() as session:
            yield session

    async def answer(alias: Any) -> tuple[int, int]:
        app = FastAPI()

        @app.get("/")
        async def create(session: alias) -> None:
            await session.execute(INSERT)
            await session.commit()
            await session.execute(INSERT)
            await session.commit()

        status = (await call(app)).status
        return status, len(postgres.execute("DELETE FROM orders RETURNING id"))

    assert await answer(Annotated[AsyncSession, Depends(provide)]) == (200, 2)
    assert await answer(correct(RULE, PAIR).Session) == (500, 1)


@confirms(RULE, "explicit-commits")
async def a_project_that_commits_adopts_the_alias(call, postgres):
    """`commit()` and an inner `begin()` raise the quoted texts; their replacements store all."""
    alias = correct(RULE, PAIR).Session

    async def answer(store: Callable[[AsyncSession], Awaitable[None]]) -> tuple[str, int]:
        app = FastAPI()

        @app.get("/")
        async def create(session: alias) -> None:
            await store(session)

        error = str((await call(app)).error or "")
        return error, len(postgres.execute("DELETE FROM orders RETURNING id"))

    async def commit_and_read(session: AsyncSession) -> None:
        await session.execute(INSERT)
        await session.commit()
        await session.execute(text("SELECT 1"))

    async def begin(session: AsyncSession) -> None:
        async with session.begin():
            await session.execute(INSERT)

    async def adopted(session: AsyncSession) -> None:
        await session.execute(INSERT)
        await session.flush()
        async with session.begin_nested():
            await session.execute(INSERT)

    (closed, stored), (begun, kept) = await answer(commit_and_read), await answer(begin)

    assert closed.startswith("Can't operate on closed transaction")
    assert begun.startswith("A transaction is already begun on this Session")
    assert (stored, kept) == (1, 0)
    assert await answer(adopted) == ("", 2)


@confirms(RULE, "explicit-commits")
async def an_explicit_commit_fails_before_the_response(call, postgres):
    """A COMMIT that the server refuses inside the endpoint is not answered with success."""
    postgres.execute(refuse_commit("orders"))
    app = FastAPI()

    async def provide(request: Request) -> AsyncIterator[AsyncSession]:
        async with request.state.sessions() as session:
            yield session

    @app.get("/")
    async def create(session: Annotated[AsyncSession, Depends(provide)]) -> None:
        await session.execute(INSERT)
        await session.commit()

    exchange = await call(app)

    assert (exchange.status, type(exchange.error)) == (500, IntegrityError)


@confirms(RULE, "rows-that-outlive-an-error")
@pytest.mark.parametrize(("way", "rows"), [("raise", 0), ("own session", 1)])
async def a_failed_login_is_rolled_back_by_its_exception(way, rows, call, postgres):
    """`raise` loses both rows, and not the one of a session of its own."""
    app = FastAPI()

    @app.get("/")
    async def login(request: Request, session: correct(RULE, PAIR).Session) -> Any:
        await session.execute(INSERT)
        if way == "own session":
            async with request.state.sessions.begin() as own:
                await own.execute(INSERT)
        else:
            await session.execute(INSERT)
        raise HTTPException(401)

    assert (await call(app)).status == 401
    assert len(postgres.execute("SELECT id FROM orders")) == rows
