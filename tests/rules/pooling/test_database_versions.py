"""What pooling/database says of older asyncpg, each release in an environment of its own."""

import asyncio
import json
from contextlib import asynccontextmanager
from importlib.metadata import version

import pytest

from tests.harness import confirms, correct
from tests.rules.pooling.test_database import alice_on_bobs_server
from tests.rules.pooling.test_database_settings import Wire
from tests.servers.pgbouncer import pgbouncer
from tests.servers.uvicorn import source_of
from tests.test_versions import environment

RULE = "pooling/database"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CACHE_OFF = '{"statement_cache_size": 0'
ADDED = CACHE_OFF + ', "prepared_statement_cache_size": 0, "prepared_statement_name_func": str'

# What it streams on one connection, in turns.
STREAMS = """
import asyncio, json, sys
from sqlalchemy import text

async def main():
    engine = build_engine(sys.argv[1])
    answers = []
    async with engine.connect() as connection:
        for name in "alice", "bob", "alice":
            rows = await connection.stream_scalars(text(f"SELECT '{name}'"))
            answers += [row async for row in rows]
    print(json.dumps(answers))
    await engine.dispose()

asyncio.run(main())
"""

# It asks once, and again when told so.
TWICE = """
import asyncio, sys
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

async def main():
    engine = create_async_engine(sys.argv[1], connect_args={"command_timeout": 0.5})
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        print("asked", flush=True)
        input()
        try:
            await connection.execute(text("SELECT 1"))
        except TimeoutError:
            print("ended", flush=True)

asyncio.run(main())
"""

IDLE = """
import asyncio, json, sys
import asyncpg

async def main():
    options = {"min_size": 2, "max_size": 4, "max_inactive_connection_lifetime": 0.05}
    pool = await asyncpg.create_pool(sys.argv[1], **options)
    for connection in [await pool.acquire() for _ in range(4)]:
        await pool.release(connection)
    async with asyncio.timeout(5):
        while pool.get_size():
            await asyncio.sleep(0.01)
    print(json.dumps(pool.get_size()))

asyncio.run(main())
"""


@pytest.fixture(params=["0.30.0", "0.31.0"])
def python(request):
    """The Python of an environment with an older asyncpg, and SQLAlchemy as it is here."""
    wanted = [f"asyncpg=={request.param}", f"sqlalchemy[asyncio]=={version('sqlalchemy')}"]
    return environment(f"asyncpg-{request.param}", "3.11", wanted)


@asynccontextmanager
async def running(python, script, url):
    """A script in that environment, ended with the block."""
    process = await asyncio.create_subprocess_exec(
        python, "-W", "ignore", "-c", script, url, stdin=-1, stdout=-1
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def streamed(python, source, postgres):
    """What a source's engine answers through PgBouncer to alice, to bob and to alice again."""
    with pgbouncer(postgres) as pooled:
        async with running(python, source + STREAMS, pooled.asyncpg) as process:
            printed, _ = await process.communicate()
    return json.loads(printed)


@confirms(RULE, "asyncpg-0-30-and-0-31", limit=200)
async def the_cache_size_alone_is_not_enough(python, postgres):
    """Alice gets what bob asked for by the page's half, not with the two arguments added."""
    half = source_of(correct(RULE, "pgbouncer-in-transaction-mode"))
    assert CACHE_OFF in half
    found = []
    for source in half, half.replace(CACHE_OFF, ADDED):
        alone = await streamed(python, source, postgres) == ["alice", "bob", "alice"]
        among = await alice_on_bobs_server(source, postgres, str(python)) == ["alice", "alice"]
        found.append(alone and among)

    assert found == [False, True]


@confirms(RULE, "asyncpg-0-30-and-0-31", limit=120)
async def command_timeout_does_not_end_a_query_on_a_silent_link(python, postgres):
    """Six times its length later the query still waits; on a link that works it is answered."""
    async with Wire(postgres) as wire:
        for silent in False, True:
            async with running(python, TWICE, wire.url) as process:
                assert await process.stdout.readline() == b"asked\n"
                if silent:
                    wire.silence()
                process.stdin.write(b"\n")
                ends = asyncio.create_task(process.wait())
                done, _ = await asyncio.wait({ends}, timeout=3 if silent else 60)

                assert bool(done) is not silent
                if silent:
                    process.kill()
                await ends


@confirms(RULE, "asyncpg-0-30-and-0-31", limit=120)
async def idle_connections_close_below_the_floor(python, postgres):
    """Of a pool with min_size=2 none is left."""
    async with running(python, IDLE, postgres.url) as process:
        printed, _ = await process.communicate()

    assert json.loads(printed) == 0
