"""What pooling/database says of LISTEN: in a pool it fails, on a connection of its own it lasts."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest
import sqlalchemy.exc
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.harness import confirms
from tests.observers.connections import killed
from tests.observers.waiting import reached, turns, until
from tests.rules.pooling.test_database_settings import ONE, engine_of, query

RULE = "pooling/database"
NOTIFY = text("SELECT pg_notify(:channel, :payload)")


async def tell(engine, payload="x"):
    async with engine.begin() as connection:
        await connection.execute(NOTIFY, {"channel": "news", "payload": payload})


@asynccontextmanager
async def listening(engine, heard):
    """A connection of the engine's pool that listens until the block ends."""
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        await driver.add_listener("news", lambda *news: heard.append(news[-1]))
        yield


@confirms(RULE, "listen-in-a-pool")
async def a_listener_takes_a_connection_out_of_the_pool(postgres):
    """A request finds none in a pool of one."""
    async with engine_of(postgres.asyncpg, pool_timeout=0.2, **ONE) as engine:
        async with listening(engine, []):
            with pytest.raises(sqlalchemy.exc.TimeoutError):
                await query(engine)

        assert await query(engine) == 1


@confirms(RULE, "listen-in-a-pool")
async def sqlalchemys_pool_goes_on_calling(postgres):
    """The listener is called after its block ended, by a notification on its old connection."""
    heard = []
    async with engine_of(postgres.asyncpg, **ONE) as engine:
        async with listening(engine, heard):
            pass
        await tell(engine)
        await query(engine)

    assert heard == ["x"]


@pytest.mark.filterwarnings("ignore::asyncpg.exceptions.InterfaceWarning")
@confirms(RULE, "listen-in-a-pool")
async def asyncpgs_pool_makes_a_listener_deaf(postgres):
    """While it has the connection it hears, once released it does not."""
    heard = []
    pool = await asyncpg.create_pool(postgres.url, min_size=1, max_size=2)
    try:
        async with pool.acquire() as connection:
            await connection.add_listener("news", lambda *news: heard.append(news[-1]))
            await pool.execute("SELECT pg_notify('news', 'held')")
            assert await until(lambda: heard == ["held"])
        await pool.execute("SELECT pg_notify('news', 'released')")
        await pool.fetchval("SELECT 1")
    finally:
        pool.terminate()

    assert heard == ["held"]


@confirms(RULE, "listen-in-a-pool")
async def notify_takes_no_parameters(postgres):
    """It is a syntax error; pg_notify takes them and is heard."""
    heard = []
    async with engine_of(postgres.asyncpg, **ONE) as engine:
        with pytest.raises(DBAPIError, match="syntax error"):
            async with engine.begin() as connection:
                await connection.execute(text("NOTIFY news, :payload"), {"payload": "x"})
        async with listening(engine, heard):
            pass
        await tell(engine, "quote'd")

    assert heard == ["quote'd"]


@confirms(RULE, "listen-in-a-pool")
async def nothing_is_raised_where_a_listener_is_lost(postgres):
    """Only the termination listener is called; who waits for news waits on."""
    news, lost = asyncio.Queue(), asyncio.Event()
    connection = await asyncpg.connect(postgres.url)
    connection.add_termination_listener(lambda _: lost.set())
    await connection.add_listener("news", lambda *each: news.put_nowait(each))
    waiting = asyncio.create_task(news.get())
    assert await killed(postgres.url)
    await reached(lost)
    await turns()

    assert connection.is_closed()
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait({waiting})


async def follow(url, read, ring):
    """Listen for ever on a connection of its own; `read` what is new after each start and ring."""
    while True:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _, lost=lost: (lost.set(), ring.set()))
            await connection.add_listener("news", lambda *_: ring.set())
            while not lost.is_set():
                await read(connection)
                await ring.wait()
                ring.clear()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pass  # it was lost while reading
        finally:
            connection.terminate()


@confirms(RULE, "listen-in-a-pool")
async def a_listener_that_connects_again_misses_nothing(postgres):
    """What was stored while it was away is read first; what comes later rings."""
    postgres.execute("CREATE TABLE audit (id int)")
    seen, ring = [], asyncio.Event()

    async def read(connection):
        rows = await connection.fetch("SELECT id FROM audit WHERE id > $1", max(seen, default=0))
        seen.extend(row["id"] for row in rows)

    def store(number):
        postgres.execute(f"INSERT INTO audit VALUES ({number}); SELECT pg_notify('news', '')")

    following = asyncio.create_task(follow(postgres.url, read, ring))
    store(1)
    assert await until(lambda: seen == [1])
    for number in 2, 3:
        assert await killed(postgres.url)
        store(number)
        assert await until(lambda number=number: seen[-1] == number)
    store(4)

    assert await until(lambda: seen == [1, 2, 3, 4])
    following.cancel()
    await asyncio.wait({following})
