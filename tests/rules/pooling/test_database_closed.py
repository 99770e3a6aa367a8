"""What pooling/database says of connections that were closed, or fell silent, in the pool."""

import asyncio
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from tests.harness import confirms, correct
from tests.observers.connections import killed
from tests.observers.waiting import until
from tests.rules.pooling.test_database_settings import ONE, SELECT, Wire, engine_of, query
from tests.servers.cluster import cluster
from tests.servers.pgbouncer import pgbouncer

RULE = "pooling/database"
PAIR = "one-engine-in-the-lifespan"


@asynccontextmanager
async def guarded(url, how, **options):
    """An engine whose pool looks at a connection before it hands it out, or does not."""
    async with engine_of(url, pool_pre_ping=how == "ping", **options) as engine:
        if how == "refuse_closed":
            event.listen(engine.sync_engine, "checkout", correct(RULE, PAIR).refuse_closed)
        yield engine


async def driver_of(engine):
    """asyncpg's own connection, which the pool hands out next too."""
    async with engine.connect() as connection:
        await connection.execute(SELECT)
        return (await connection.get_raw_connection()).driver_connection


async def answered(engine):
    """Whether a query is; a connection that turns out to be dead is an error."""
    try:
        return await query(engine) == 1
    except DBAPIError:
        return False


@confirms(RULE, "what-the-settings-leave-open")
@pytest.mark.parametrize("how", ["nothing", "ping", "refuse_closed"])
async def a_connection_closed_by_the_server_is_replaced(how, postgres):
    """asyncpg notices that it was; the next request fails unless somebody looked."""
    async with guarded(postgres.asyncpg, how, **ONE) as engine:
        driver = await driver_of(engine)
        assert await killed(postgres.url)
        assert await until(driver.is_closed)

        assert await answered(engine) is (how != "nothing")


@confirms(RULE, "what-the-settings-leave-open")
async def the_lifespans_sessions_survive_the_loss_of_each_connection(postgres):
    """All were idle when they were closed; as many requests at once are answered."""
    app = FastAPI()
    app.state.database_url = postgres.asyncpg
    async with correct(RULE, PAIR).lifespan(app) as state:

        async def used(together):
            async with state["sessions"].begin() as session:
                await together.wait()
                return await session.scalar(SELECT)

        for kill in True, False:
            together = asyncio.Barrier(10)
            assert await asyncio.gather(*(used(together) for _ in range(10))) == [1] * 10
            if kill:
                assert await killed(postgres.url) >= 10


@confirms(RULE, "what-the-settings-leave-open")
@pytest.mark.parametrize("how", ["nothing", "ping", "refuse_closed"])
async def a_restart_of_pgbouncer_is_survived(how, postgres):
    """Its clients' connections close with it; another one takes its place."""
    async with Wire(postgres) as wire:
        arguments = {"statement_cache_size": 0}
        async with guarded(wire.url, how, connect_args=arguments, **ONE) as engine:
            with pgbouncer(postgres) as first:
                wire.target = urlsplit(first.url)
                driver = await driver_of(engine)
            assert await until(driver.is_closed)
            with pgbouncer(postgres) as second:
                wire.target = urlsplit(second.url)

                assert await answered(engine) is (how != "nothing")


@pytest.mark.slow  # it starts a server and restarts it six times
@confirms(RULE, "what-the-settings-leave-open", limit=120)
async def a_restart_of_postgresql_is_survived():
    """Five idle connections, five requests at once: only where nobody looks one fails."""
    found = {}
    with cluster() as server:
        for how in "nothing", "ping", "refuse_closed":
            for mode in "fast", "immediate":
                async with guarded(server.database.asyncpg, how, max_overflow=0) as engine:
                    together = asyncio.Barrier(5)

                    async def use(engine=engine, together=together):
                        async with engine.connect() as connection:
                            await connection.execute(SELECT)
                            await together.wait()

                    await asyncio.gather(*(use() for _ in range(5)))
                    await asyncio.to_thread(server.restart, mode)
                    answers = await asyncio.gather(*(answered(engine) for _ in range(5)))
                    found[how, mode] = all(answers)

    assert {how for (how, _), survived in found.items() if survived} == {"ping", "refuse_closed"}
    assert not any(found["nothing", mode] for mode in ("fast", "immediate"))


@confirms(RULE, "what-the-settings-leave-open")
async def behind_pgbouncer_no_client_sees_postgresql_go(postgres):
    """Its servers are gone, the client's connection is not, and serves the next request."""
    arguments = {"statement_cache_size": 0}
    with pgbouncer(postgres) as pooled:
        async with guarded(
            pooled.asyncpg, "refuse_closed", connect_args=arguments, **ONE
        ) as engine:
            driver = await driver_of(engine)
            assert await killed(postgres.url)
            assert not await until(driver.is_closed, limit=0.3)

            assert await answered(engine)
            assert await driver_of(engine) is driver


@confirms(RULE, "what-the-settings-leave-open")
@pytest.mark.parametrize("ping", [False, True])
async def psycopg_does_not_notice(ping, postgres):
    """Its connection says it is open after the server closed it: only a ping helps."""
    async with engine_of(postgres.psycopg, pool_pre_ping=ping, **ONE) as engine:
        driver = await driver_of(engine)
        assert await killed(postgres.url)
        assert not await until(lambda: driver.closed, limit=0.2)

        assert await answered(engine) is ping


@confirms(RULE, "what-the-settings-leave-open")
@pytest.mark.parametrize("how", ["ping", "refuse_closed"])
async def a_connection_that_dies_after_checkout_fails_the_request(how, postgres):
    """Looked at, and not older than pool_recycle allows; a second try of the whole unit passes."""
    async with guarded(postgres.asyncpg, how, pool_recycle=0, **ONE) as engine:
        async with engine.connect() as connection:
            await connection.execute(SELECT)
            await killed(postgres.url)
            with pytest.raises(DBAPIError) as caught:
                await connection.execute(SELECT)

        assert caught.value.connection_invalidated
        assert await query(engine) == 1


@confirms(RULE, "what-the-settings-leave-open", "asyncpg-0-30-and-0-31", limit=30)
@pytest.mark.parametrize("how", ["ping", "refuse_closed"])
@pytest.mark.parametrize("arguments", [{}, {"command_timeout": 0.5}], ids=["unlimited", "limited"])
async def a_silent_link_is_waited_for(how, arguments, postgres):
    """By the query or its ping; command_timeout ends the wait, nothing else does."""
    async with (
        Wire(postgres) as wire,
        guarded(wire.url, how, connect_args=arguments, **ONE) as engine,
    ):
        await query(engine)
        wire.silence()
        waiting = asyncio.create_task(query(engine))
        done, _ = await asyncio.wait({waiting}, timeout=20 if arguments else 0.5)
        wire.cut()
        waiting.cancel()  # where it was waiting, it is cancelled or learns of the cut
        (answer,) = await asyncio.gather(waiting, return_exceptions=True)

    assert bool(done) is bool(arguments)
    assert isinstance(answer, TimeoutError) is bool(arguments)


@confirms(RULE, "what-the-settings-leave-open")
async def a_ping_costs_three_round_trips_and_a_look_none(postgres):
    """So many more messages go to the server for the same query."""
    sent = {}
    for how in "nothing", "refuse_closed", "ping":
        async with Wire(postgres) as wire, guarded(wire.url, how, **ONE) as engine:
            await query(engine)
            await query(engine)
            before = wire.sent
            await query(engine)
            sent[how] = wire.sent - before

    assert sent["refuse_closed"] == sent["nothing"]
    assert sent["ping"] == sent["nothing"] + 3
