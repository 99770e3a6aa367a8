"""Texts of dependencies with `yield`: called by hand, in the wrong scope, with errors inside."""

import gc
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from sqlalchemy import text
from sqlalchemy.exc import SAWarning
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from tests.errors.fastapi.served import ask
from tests.harness.errors import produces

ONE = text("SELECT 1")


@asynccontextmanager
async def factory(url: str = "sqlite+aiosqlite://"):
    """A session factory, and its engine's end."""
    engine = create_async_engine(url)
    try:
        yield async_sessionmaker(engine)
    finally:
        await engine.dispose()


@produces("fastapi", "'async_generator' object has no attribute")
async def a_provider_is_called_by_hand(cured):
    """A job calls the provider that FastAPI would have driven."""
    async with factory() as sessions:

        async def get_session() -> AsyncGenerator[AsyncSession, None]:
            async with sessions.begin() as session:
                yield session

        if cured:
            async with sessions.begin() as session:
                assert await session.scalar(ONE) == 1
            return
        session = get_session()
        await session.execute(ONE)


@produces("fastapi", "does not support the asynchronous context manager protocol")
async def a_provider_is_taken_for_a_context_manager(cured):
    """A bare generator function stands after `async with`."""
    async with factory() as sessions:

        async def get_session() -> AsyncGenerator[AsyncSession, None]:
            async with sessions.begin() as session:
                yield session

        opened = asynccontextmanager(get_session) if cured else get_session
        async with opened() as session:
            assert await session.scalar(ONE) == 1


@produces("fastapi", "'Depends' object has no attribute")
async def a_handler_is_called_by_hand(cured):
    """Code of its own calls an endpoint, and the default is FastAPI's marker."""
    async with factory() as sessions:

        def get_session() -> AsyncSession:
            return sessions()

        async def count(session: AsyncSession = Depends(get_session)) -> None:  # noqa: B008
            await session.execute(ONE)

        async def safe(session: Annotated[AsyncSession, Depends(get_session)]) -> None:
            await session.execute(ONE)

        if cured:
            async with sessions() as session:
                await safe(session)
            return
        await count()


@produces("fastapi", 'cannot depend on dependencies with scope "function"')
async def a_longer_scope_takes_a_shorter_one(cured):
    """A provider that ends after the response needs one that ends before it."""
    app, scope = FastAPI(), "function" if cured else None

    async def get_session() -> AsyncGenerator[str, None]:
        yield "session"

    Session = Annotated[str, Depends(get_session, scope="function")]  # noqa: N806

    async def get_unit(session: Session) -> AsyncGenerator[str, None]:
        yield session

    @app.get("/")
    async def read(unit: Annotated[str, Depends(get_unit, scope=scope)]) -> str:
        return unit

    assert await ask(app) == '200 "session"'


@produces("fastapi", "Caught handled exception, but response already started")
async def an_error_comes_after_the_response(cured):
    """Code after `yield` raises what has a handler, too late for an answer."""
    app = FastAPI()

    async def get_session() -> AsyncGenerator[None, None]:
        yield
        raise HTTPException(409, "the commit failed")

    @app.get("/", dependencies=[Depends(get_session, scope="function" if cured else None)])
    async def read() -> None: ...

    assert (await ask(app)).startswith("409")


async def swallows() -> AsyncGenerator[None, None]:
    """Forget the exception of the request."""
    with suppress(LookupError):
        yield


async def translates() -> AsyncGenerator[None, None]:
    """Turn the exception of the request into an answer."""
    try:
        yield
    except LookupError:
        raise HTTPException(404) from None


def failing(provider, **options) -> FastAPI:
    """An application whose endpoint fails within this provider."""
    app = FastAPI()

    @app.get("/", dependencies=[Depends(provider, **options)])
    async def read() -> None:
        raise LookupError("no such row")

    return app


@produces("fastapi", "Response not awaited. There's a high chance")
async def a_provider_swallows_the_error_of_the_request(cured):
    """In the default scope FastAPI finds out itself that there is no response."""
    answer = await ask(failing(translates if cured else swallows))

    assert answer.startswith("404")


@produces("fastapi", "cannot access local variable 'response'")
async def a_function_scope_provider_swallows_the_error(cured):
    """In function scope it stumbles over its own variable."""
    answer = await ask(failing(translates if cured else swallows, scope="function"))

    assert answer.startswith("404")


@produces("fastapi", "generator didn't stop after athrow()")
async def a_provider_yields_a_fallback(cured):
    """After the error of the request it yields once more."""

    async def falls_back() -> AsyncGenerator[str, None]:
        try:
            yield "session"
        except LookupError:
            yield "fallback"

    answer = await ask(failing(translates if cured else falls_back))

    assert answer.startswith("404")


async def a_session_is_never_closed(sessions, cured):
    """A session made by hand goes out of scope while it holds a connection."""
    if cured:
        async with sessions() as session:
            return await session.scalar(ONE)
    session = sessions()
    return await session.scalar(ONE)


async def a_stream_reopens_a_closed_session(sessions, cured):
    """A `scope="function"` session is closed before the body, and used by the body."""
    app = FastAPI()

    async def get_session() -> AsyncGenerator[AsyncSession, None]:
        async with sessions.begin() as session:
            yield session

    Session = Annotated[AsyncSession, Depends(get_session, scope="function")]  # noqa: N806

    @app.get("/")
    async def export(session: Session) -> StreamingResponse:
        async def lines() -> AsyncGenerator[str, None]:
            if not cured:
                yield str(await session.scalar(ONE))
                return
            async with sessions() as own:
                yield str(await own.scalar(ONE))

        return StreamingResponse(lines())

    assert await ask(app) == "200 1"


@produces("fastapi", "The garbage collector is trying to clean up non-checked-in connection")
async def a_connection_is_left_to_the_collector(postgres, cured):
    """Nobody closes the session that holds it."""
    async with factory(postgres.asyncpg) as sessions:
        with warnings.catch_warnings(record=True) as warned:
            for cause in (a_session_is_never_closed, a_stream_reopens_a_closed_session):
                await cause(sessions, cured)
                gc.collect()
        leaks = [each for each in warned if issubclass(each.category, SAWarning)]
        assert len(leaks) == (0 if cured else 2)
