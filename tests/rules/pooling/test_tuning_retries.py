"""What pooling/tuning says about repeating work that the database refused or lost."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from tests.harness import confirms
from tests.observers.failing_commit import refuse_commit
from tests.servers.postgres import Database

RULE = "pooling/tuning"
Work = Callable[[AsyncSession], Awaitable[None]]
Sessions = async_sessionmaker[AsyncSession]


@asynccontextmanager
async def shop(postgres: Database, url: str = "") -> AsyncIterator[Sessions]:
    """Sessions on a database with a table of orders and one of payments."""
    postgres.execute("CREATE TABLE orders (key text UNIQUE); CREATE TABLE payments (key text)")
    engine = create_async_engine(url or postgres.asyncpg)
    try:
        yield async_sessionmaker(engine)
    finally:
        await engine.dispose()


async def repeated(sessions: Sessions, work: Work) -> int:
    """Repeat the whole block as the rule says; return how often it ran."""
    for attempt in range(1, 4):
        try:
            async with sessions.begin() as session:
                await work(session)
            return attempt
        except DBAPIError as error:
            stale = type(error.orig).__name__ == "InvalidCachedStatementError"
            if attempt == 3 or not (stale or error.orig.sqlstate in {"40001", "40P01"}):
                raise
        await asyncio.sleep(random.uniform(0, 0.01))  # noqa: S311 - jitter
    raise AssertionError


def stored(postgres: Database, table: str) -> int:
    return postgres.execute(f"SELECT count(*) FROM {table}")[0][0]


# A sequence is not rolled back, so this refuses the first attempt only.
ONCE = """
    CREATE SEQUENCE attempts;
    CREATE FUNCTION refuse_once() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('attempts') = 1 THEN RAISE 'refused' USING ERRCODE = '40001'; END IF;
    END $$
"""


async def order(session: AsyncSession) -> None:
    await session.execute(text("INSERT INTO orders VALUES ('a')"))


async def pay(session: AsyncSession) -> None:
    await session.execute(text("SELECT refuse_once()"))
    await session.execute(text("INSERT INTO payments VALUES ('a')"))


@confirms(RULE, "retry-of-one-step")
async def a_repeated_step_is_stored_without_the_steps_before_it(postgres):
    """The payment is repeated in the same session, and committed for an order that is lost."""
    postgres.execute(ONCE)
    async with shop(postgres) as sessions, sessions() as session:
        await order(session)
        try:
            await pay(session)
        except DBAPIError:
            await session.rollback()
            await pay(session)
        await session.commit()

    assert (stored(postgres, "orders"), stored(postgres, "payments")) == (0, 1)


@confirms(RULE, "retry-of-one-step")
async def a_repeated_block_is_stored_whole(postgres):
    """Both steps run again in a new session."""
    postgres.execute(ONCE)

    async def work(session: AsyncSession) -> None:
        await order(session)
        await pay(session)

    async with shop(postgres) as sessions:
        attempts = await repeated(sessions, work)

    assert attempts == 2
    assert (stored(postgres, "orders"), stored(postgres, "payments")) == (1, 1)


@confirms(RULE, "retry-of-one-step")
async def a_deadlock_is_worth_a_second_attempt(postgres):
    """Two transactions lock two rows in opposite order; the one that looks is refused."""
    postgres.execute("CREATE TABLE stock (id int, n int); INSERT INTO stock VALUES (1, 0), (2, 0)")
    met = asyncio.Barrier(2)

    def moving(first: int, second: int, timeout: str) -> Work:
        waits = [met.wait]

        async def work(session: AsyncSession) -> None:
            add = text("UPDATE stock SET n = n + 1 WHERE id = :id")
            await session.execute(text(f"SET LOCAL deadlock_timeout = '{timeout}'"))
            await session.execute(add, {"id": first})
            if waits:
                await waits.pop()()
            await session.execute(add, {"id": second})

        return work

    async with shop(postgres) as sessions:
        attempts = await asyncio.gather(
            repeated(sessions, moving(1, 2, "10ms")), repeated(sessions, moving(2, 1, "10s"))
        )

    assert attempts == [2, 1]
    assert postgres.execute("SELECT n FROM stock") == [(2,), (2,)]


@confirms(RULE, "retry-of-one-step")
@pytest.mark.parametrize(("sqlstate", "expected"), [("40001", 3), ("23514", 1)])
async def only_a_refusal_that_may_pass_is_repeated(postgres, sqlstate, expected):
    """COMMIT itself can report the conflict; a broken check it reports is final."""
    attempts = 0

    async def work(session: AsyncSession) -> None:
        nonlocal attempts
        attempts += 1
        await order(session)

    async with shop(postgres) as sessions:
        postgres.execute(refuse_commit("orders", sqlstate=sqlstate))
        with pytest.raises(DBAPIError) as error:
            await repeated(sessions, work)

    assert error.value.orig.sqlstate == sqlstate
    assert attempts == expected
    assert stored(postgres, "orders") == 0


@confirms(RULE, "retry-of-one-step")
async def a_plan_that_a_migration_made_stale_is_worth_one_more_attempt(postgres):
    """Each of two connections has the plan; the second attempt finds it gone from both."""
    read = text("SELECT * FROM orders")
    seen = []

    async def work(session: AsyncSession) -> None:
        try:
            seen.append((await session.scalars(read)).all())
        except DBAPIError as error:
            seen.append(type(error.orig).__name__)
            raise

    async with shop(postgres) as sessions:
        async with sessions() as one, sessions() as other:
            for session in (one, other):
                await session.execute(read)
        postgres.execute("ALTER TABLE orders ALTER key TYPE varchar(9)")

        attempts = await repeated(sessions, work)

    assert attempts == 2
    assert seen == ["InvalidCachedStatementError", []]


@asynccontextmanager
async def losing_the_answer(url: str) -> AsyncIterator[int]:
    """The port of a proxy that passes on the first COMMIT and cuts the line before its answer."""
    server_at, lost = urlsplit(url), asyncio.Event()

    async def serve(client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        source, target = await asyncio.open_connection(server_at.hostname, server_at.port)
        cut = asyncio.Event()

        async def up() -> None:
            while data := await client.read(65536):
                if b"COMMIT" in data and not lost.is_set():
                    lost.set()
                    cut.set()
                target.write(data)

        async def down() -> None:
            while (data := await source.read(65536)) and not cut.is_set():
                back.write(data)

        lines = [asyncio.create_task(up()), asyncio.create_task(down())]
        await asyncio.wait(lines, return_when=asyncio.FIRST_COMPLETED)
        for line in lines:
            line.cancel()
        for writer in (target, back):
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@confirms(RULE, "lost-commit-answer")
@pytest.mark.parametrize(("conflict", "expected"), [("", 2), ("ON CONFLICT DO NOTHING", 1)])
async def work_whose_commit_was_not_answered_may_be_stored(postgres, conflict, expected):
    """The order is stored though COMMIT raised; repeated, it is doubled unless it has a key."""
    postgres.execute("CREATE TABLE plain (key text)")
    table = "orders" if conflict else "plain"

    async def work(session: AsyncSession) -> None:
        await session.execute(text(f"INSERT INTO {table} VALUES ('a') {conflict}"))

    async with losing_the_answer(postgres.url) as port:
        url = make_url(postgres.asyncpg).set(host="127.0.0.1", port=port)
        async with shop(postgres, url) as sessions:
            with pytest.raises(DBAPIError) as error:
                await repeated(sessions, work)
            assert error.value.connection_invalidated
            assert stored(postgres, table) == 1

            await repeated(sessions, work)

    assert stored(postgres, table) == expected
