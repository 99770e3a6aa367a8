"""Proofs of pooling/database: one engine, a pooler in between, a tenant."""

import asyncio
import sys
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from tests.harness import proves
from tests.observers.asgi import request, running
from tests.observers.blocked import holding
from tests.observers.connections import backends, falls_to
from tests.servers.pgbouncer import pgbouncer
from tests.servers.uvicorn import source_of

RULE = "pooling/database"

# Two processes with the half's own engine; each asks when told: by a stream, then at once.
ASKING = """
import asyncio, os, sys
from sqlalchemy import text

async def ask(name, asked):
    engine = build_engine(sys.argv[1])
    query = text(f"SELECT '{name}'")
    for _ in asked:
        async with engine.connect() as connection:
            answers = [row async for row in await connection.stream_scalars(query)]
            answers.append(await connection.scalar(query))
        print(*answers, flush=True)  # its transaction has ended, so its server is free
    await engine.dispose()

told = {}
for name in "alice", "bob":
    read, told[name] = os.pipe()
    if not os.fork():
        os.close(told[name])
        asyncio.run(ask(name, os.fdopen(read)))
        os._exit(0)
for line in sys.stdin:
    os.write(told[line.strip()], b"\\n")
"""


@asynccontextmanager
async def asking(source, url, python=sys.executable):
    """A function that has alice or bob ask through `build_engine` of a source; the answers."""
    process = await asyncio.create_subprocess_exec(
        python, "-c", source + ASKING, url, stdin=-1, stdout=-1, stderr=-2
    )

    async def ask(name):
        process.stdin.write(f"{name}\n".encode())
        return (await process.stdout.readline()).decode().split()

    try:
        yield ask
    finally:
        process.stdin.close()  # first this one ends, then bob and alice, whose pipes it had
        await process.communicate()


@proves(RULE, "one-engine-in-the-lifespan")
async def sessions_open_backends_that_stay(half, postgres):
    """Requests one after the other are served by more than one backend, or some outlive the app."""
    app = FastAPI(lifespan=half.lifespan)
    app.state.database_url = postgres.asyncpg

    @app.get("/")
    async def answer(request: Request) -> int | None:
        async with request.state.sessions() as session:
            return await session.scalar(text("SELECT 42"))

    seen: set[int] = set()
    async with running(app) as state:
        for _ in range(4):
            exchange = await request(app, state=state)
            assert exchange.body == b"42"
            seen |= await backends(postgres.url)
    served_by = len(seen)

    return served_by > 1 or not await falls_to(0, postgres.url)


async def alice_on_bobs_server(source, postgres, python=sys.executable):
    """What alice is answered, by a stream and at once, where bob has just asked the same."""
    with pgbouncer(postgres, default_pool_size=2) as pooled:
        async with asking(source, pooled.asyncpg, python) as ask:
            assert await ask("alice") == ["alice", "alice"]
            async with holding(pooled.url, "SELECT 1"):  # alice's server, the only one so far
                assert await ask("bob") == ["bob", "bob"]
                return await ask("alice")


@proves(RULE, "pgbouncer-in-transaction-mode", limit=40)
async def alice_gets_the_answer_to_bob(half, postgres):
    """Two processes prepared on a server each; on bob's server alice reads what bob asked for."""
    engine = half.build_engine(postgres.asyncpg)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT 42")) == 42
    await engine.dispose()

    answers = await alice_on_bobs_server(source_of(half), postgres)
    assert set(answers) <= {"alice", "bob"}
    assert len(answers) == 2
    return "bob" in answers


@proves(RULE, "tenant-inside-the-transaction")
async def the_next_request_is_still_that_tenant(half, postgres):
    """A session that names no tenant sees the rows of the one before."""
    postgres.execute("""
        CREATE TABLE orders (tenant text, sku text);
        INSERT INTO orders VALUES ('alice', 'a'), ('bob', 'b');
        CREATE VIEW mine AS
            SELECT sku FROM orders WHERE tenant = current_setting('app.tenant', true)
    """)
    engine = create_async_engine(postgres.asyncpg, pool_size=1, max_overflow=0)
    sessions = async_sessionmaker(engine)
    mine = text("SELECT sku FROM mine")
    try:
        async with sessions.begin() as session:
            await half.use_tenant(session, "alice")
            assert list(await session.scalars(mine)) == ["a"]

        async with sessions.begin() as session:
            rows_seen = list(await session.scalars(mine))
        return rows_seen == ["a"]
    finally:
        await engine.dispose()
