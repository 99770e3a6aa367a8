"""Sentences of fastapi/dependencies beside each other: pools, pages, tasks and settings."""

import asyncio
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from tests.harness import confirms, correct
from tests.harness.judge import run
from tests.observers.asgi import request
from tests.rules.fastapi.test_dependencies_tokens import state, token

RULE = "fastapi/dependencies"
INSERT = text("INSERT INTO orders (sku) VALUES ('a')")


@confirms(RULE, "rows-that-outlive-an-error")
async def a_second_session_needs_the_first_ones_connection(postgres):
    """As many failed logins as the pool holds wait for each other, unless each rolls back first."""
    postgres.execute("CREATE TABLE orders (id serial PRIMARY KEY, sku text NOT NULL)")
    engine = create_async_engine(postgres.asyncpg, pool_size=2, max_overflow=0, pool_timeout=0.5)

    async def answers(rollback: bool) -> tuple[set[type[BaseException]], set[int], int]:
        app, both = FastAPI(), asyncio.Barrier(2)

        @app.get("/")
        async def login(request: Request, session: correct(RULE, "one-session-alias").Session):
            await session.execute(INSERT)
            await both.wait()
            if rollback:
                await session.rollback()
            async with request.state.sessions.begin() as own:
                await own.execute(INSERT)
            raise HTTPException(401)

        state = {"sessions": async_sessionmaker(engine)}
        sent: list[Any] = await asyncio.gather(*(request(app, state=state) for _ in range(2)))
        rows = len(postgres.execute("DELETE FROM orders RETURNING id"))
        return {type(each.error) for each in sent}, {each.status for each in sent}, rows

    held, freed = await answers(rollback=False), await answers(rollback=True)
    await engine.dispose()

    assert PoolTimeout in held[0]
    assert freed == ({type(None)}, {401}, 2)


def test_an_export_by_a_column_that_repeats_loses_rows(postgres):
    """Equal values on both sides of a page's end, and the empty string, do not go out."""
    postgres.execute("""
        CREATE TABLE stock (sku text);
        INSERT INTO stock SELECT to_char(n / 3, 'FM0000') FROM generate_series(3, 1502) AS n;
        INSERT INTO stock VALUES ('')
    """)

    async def sent() -> tuple[int, int]:
        app, engine = FastAPI(), create_async_engine(postgres.asyncpg)
        app.get("/")(correct(RULE, "sessions-for-streams").export)
        exchange = await request(app, state={"sessions": async_sessionmaker(engine)})
        await engine.dispose()
        assert exchange.complete
        return exchange.status, len(exchange.body.split())

    # The first page ends with the first of three equal rows.
    assert run(sent, limit=10) == (200, 1498)


@confirms(RULE, "settings-at-import")
async def a_token_is_checked_by_the_settings_of_the_lifespan():
    """An override of `get_settings` with another key does not let that key's tokens in."""
    settings = correct(RULE, "settings-that-keep-secrets")
    app, key = FastAPI(), "t" * 32

    @app.get("/")
    async def read(
        user: Annotated[str, Depends(correct(RULE, "tokens-that-expire").get_user_id)],
    ) -> str:
        return user

    app.dependency_overrides[settings.get_settings] = lambda: settings.Settings(
        _env_file=None, jwt_key=key, database_url="postgresql://"
    )
    headers = {"authorization": f"Bearer {token(key)}"}
    overridden = await request(app, headers=headers, state=state())
    yielded = await request(app, headers=headers, state=state(key))

    assert (overridden.status, yielded.status) == (401, 200)
