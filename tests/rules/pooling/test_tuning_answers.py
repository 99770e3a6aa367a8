"""What pooling/tuning says about errors of the pool, and about bursts that fill it."""

import asyncio
import heapq
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI, HTTPException
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from tests.harness import confirms, correct
from tests.observers.asgi import request
from tests.observers.checkouts import checkouts
from tests.servers.ports import free_port

RULE = "pooling/tuning"


@asynccontextmanager
async def engine_of(url: object, size: int = 1, **options: object) -> AsyncIterator[AsyncEngine]:
    """An engine without overflow."""
    engine = create_async_engine(url, pool_size=size, max_overflow=0, **options)
    try:
        yield engine
    finally:
        await engine.dispose()


async def select(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return await connection.scalar(text("SELECT 42"))


def shop(app: FastAPI, engine: AsyncEngine) -> FastAPI:
    """An endpoint that asks twice at once, and one that also splits the group."""

    @app.get("/plain")
    async def plain() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(select(engine)) for _ in range(2)]
        return [task.result() for task in tasks]

    @app.get("/split")
    async def split() -> list[int]:
        try:
            return await plain()
        except ExceptionGroup as errors:
            _, unexpected = errors.split(PoolTimeout)
            if unexpected is not None:
                raise
            raise HTTPException(503, headers={"Retry-After": "1"}) from errors

    return app


@confirms(RULE, "full-pool-in-a-taskgroup")
async def the_handler_does_not_see_the_error_in_a_group(postgres):
    """One level up it is an ExceptionGroup, a 500; split, it is the 503 again."""
    half = correct(RULE, "answer-503-when-full")
    async with engine_of(postgres.asyncpg, pool_timeout=0.3) as engine:
        app = shop(half.app, engine)
        served = await request(app, "/plain")
        async with engine.connect():
            plain, split = [await request(app, path) for path in ("/plain", "/split")]

    assert (served.status, served.json()) == (200, [42, 42])
    assert plain.status == 500
    assert isinstance(plain.error, ExceptionGroup)
    assert (split.status, split.header("retry-after")) == (503, "1")


async def connect_error(url: object) -> Exception:
    async with engine_of(url, connect_args={"timeout": 0.2, "ssl": False}) as engine:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is the question
            await select(engine)
    return caught.value


@confirms(RULE, "failed-connects")
async def a_connect_that_nobody_answers_is_no_database_error(postgres):
    """Refused, unresolved, too slow: Python's own errors, past `except DBAPIError`."""
    url, done = make_url(postgres.asyncpg), asyncio.Event()

    async def silent(_: object, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        places = [
            {"host": "127.0.0.1", "port": free_port()},
            {"host": "no.such.host.invalid"},
            {"host": "127.0.0.1", "port": server.sockets[0].getsockname()[1]},
        ]
        errors = [await connect_error(url.set(**place)) for place in places]
        done.set()

    assert [type(each).__name__ for each in errors] == [
        "ConnectionRefusedError",
        "gaierror",
        "TimeoutError",
    ]
    assert not [each for each in errors if isinstance(each, SQLAlchemyError)]
    assert all(isinstance(each, OSError) for each in errors)


@confirms(RULE, "failed-connects")
async def the_two_classes_also_hold_a_full_pool_and_a_failed_statement(postgres):
    """Neither of these is an OSError."""
    async with (
        engine_of(postgres.asyncpg, pool_timeout=0.05) as engine,
        engine.connect() as connection,
    ):
        with pytest.raises(SQLAlchemyError) as full:
            await select(engine)
        with pytest.raises(SQLAlchemyError) as failed:
            await connection.execute(text("SELECT 1/0"))

    assert isinstance(full.value, PoolTimeout)
    assert isinstance(failed.value, DBAPIError)


@confirms(RULE, "retry-around-a-dependencys-session")
async def a_retry_in_the_endpoint_never_sees_the_commit_that_failed(postgres):
    """The session of the dependency commits after the endpoint has returned."""
    half = correct("fastapi/dependencies", "one-session-alias")
    app, attempts = FastAPI(), 0

    async def attempt(session) -> None:
        nonlocal attempts
        attempts += 1
        await session.execute(text("INSERT INTO orders VALUES ('a')"))

    @app.post("/dependency")
    async def dependency(session: half.Session) -> None:
        for _ in range(3):
            try:
                await attempt(session)
                break
            except DBAPIError:
                await session.rollback()

    @app.post("/factory")
    async def factory(connection: half.HTTPConnection) -> None:
        for _ in range(3):
            try:
                async with connection.state.sessions.begin() as session:
                    await attempt(session)
                break
            except DBAPIError as error:
                if error.orig.sqlstate != "40001":
                    raise

    postgres.execute("CREATE TABLE orders (key text); CREATE SEQUENCE commits")
    postgres.execute(REFUSE_FIRST_COMMIT)
    seen = []
    async with engine_of(postgres.asyncpg) as engine:
        for path in ("/dependency", "/factory"):
            postgres.execute("ALTER SEQUENCE commits RESTART")
            attempts = 0
            answer = await request(
                app, path, "POST", state={"sessions": async_sessionmaker(engine)}
            )
            seen.append((answer.status, attempts))

    assert seen == [(500, 1), (200, 2)]


# A sequence is not rolled back, so only the first COMMIT is refused.
REFUSE_FIRST_COMMIT = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('commits') = 1 THEN RAISE 'refused' USING ERRCODE = '40001'; END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON orders
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@confirms(RULE, "checkouts-in-bursts")
async def one_request_that_takes_several_at_once_waits_for_itself(postgres):
    """However rare it is: five at once find four taken in a pool of one, none in a pool of five."""
    pool_size = correct(RULE, "size-from-rate-and-hold").pool_size

    async def queued(size: int) -> int:
        async with engine_of(postgres.asyncpg, size) as engine:
            with checkouts(engine) as seen:
                for _ in range(3):
                    await asyncio.gather(*(select(engine) for _ in range(5)))
        assert seen.taken == 15
        return seen.queued

    size = pool_size(0.5, 0.01, 99)
    assert size == 1
    assert await queued(size) == 12
    assert await queued(5) == 0


def waiting_share(busy: float, together: int, size: int, requests: int = 4000) -> float:
    """The share of checkouts that wait when each request takes several at once, held alike."""
    arrivals, free, now, waited = random.Random(1), [0.0] * size, 0.0, 0  # noqa: S311 - no secret
    for _ in range(requests):
        now += arrivals.expovariate(busy / together)  # a hold lasts 1
        for _ in range(together):
            start = max(now, heapq.heappop(free))
            waited += start > now
            heapq.heappush(free, start + 1)
    return waited / requests / together


@confirms(RULE, "checkouts-in-bursts")
@pytest.mark.parametrize("busy", [5, 10, 20])
@pytest.mark.parametrize("together", [5, 10])
def test_headroom_for_bursts_grows_with_their_size(busy, together):
    """By the plain formula 24 % and more wait, by the one for bursts at most 11 %."""
    plain = correct(RULE, "size-from-rate-and-hold").pool_size(busy, 1, 999)
    scaled = max(together, math.ceil(busy + 2 * math.sqrt(together * busy)))

    assert waiting_share(busy, together, plain) > 0.2
    assert waiting_share(busy, together, scaled) < 0.15


@pytest.mark.parametrize(("least", "most"), [(0.05, 0.18), (0.54, 0.11)])
def test_few_of_independent_checkouts_wait(least, most):
    """By Erlang's formula 17 % at most, and 10 % from the load on that needs a pool of three."""
    pool_size = correct(RULE, "size-from-rate-and-hold").pool_size
    loads = [least * 1.02**step for step in range(300)]

    assert max(erlang(load, pool_size(load, 1, 999)) for load in loads) < most


def erlang(busy: float, size: int) -> float:
    """The share of independent checkouts that wait, for holds of exponential length."""
    blocked = 1.0
    for servers in range(1, size + 1):
        blocked = busy * blocked / (servers + busy * blocked)
    return blocked / (1 - busy / size * (1 - blocked))
