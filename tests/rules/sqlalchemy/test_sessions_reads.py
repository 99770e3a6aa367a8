"""What the rule on sessions says of one read: what AUTOCOMMIT saves, and what it gives up."""

from contextlib import asynccontextmanager, suppress

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from tests.harness import confirms
from tests.observers.round_trips import round_trips

RULE = "sqlalchemy/sessions"
TRAP = "begin-around-one-read"
COUNT = text("SELECT count(*) FROM items")
FREE = "SELECT id FROM items FOR UPDATE SKIP LOCKED"


@asynccontextmanager
async def kinds(url, **options):
    """Sessions in transactions, and sessions that read, on one engine and one table."""
    engine = create_async_engine(url, **options)
    reads = engine.execution_options(isolation_level="AUTOCOMMIT")
    try:
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE items (id int)"))
            await connection.execute(text("INSERT INTO items VALUES (1)"))
        yield engine, async_sessionmaker(engine), async_sessionmaker(reads)
    finally:
        await engine.dispose()


@confirms(RULE, TRAP)
async def autocommit_reads_in_one_round_trip_instead_of_three(postgres):
    """On the same pool of one connection."""
    counted = []
    with round_trips(postgres.asyncpg) as relay:
        async with kinds(relay.url, pool_size=1, max_overflow=0) as (_, *factories):
            for sessions in factories:
                for _ in range(3):  # the first ones prepare the statement
                    before = relay.count
                    async with sessions() as session:
                        assert await session.scalar(COUNT) == 1
                counted.append(relay.count - before)

    assert counted == [3, 1]


@confirms(RULE, TRAP)
async def a_begin_block_under_autocommit_undoes_nothing(postgres):
    """Rows that stay after the block has raised, of a transaction and of AUTOCOMMIT."""
    left = []
    async with kinds(postgres.asyncpg) as (_, *factories):
        for sessions in factories:
            with suppress(RuntimeError):
                async with sessions.begin() as session:
                    await session.execute(text("INSERT INTO items VALUES (2)"))
                    raise RuntimeError
            async with sessions() as session:
                left.append(await session.scalar(COUNT))

    assert left == [1, 2]


@confirms(RULE, TRAP)
async def a_lock_and_a_tenant_last_one_statement_under_autocommit(postgres):
    """What others may lock after FOR UPDATE, and what the tenant is after it was set."""
    kept = []
    async with kinds(postgres.asyncpg) as (_, *factories):
        for sessions in factories:
            async with sessions() as session:
                await session.execute(text("SELECT * FROM items FOR UPDATE"))
                await session.execute(select(func.set_config("app.tenant", "a", True)))
                tenant = await session.scalar(select(func.current_setting("app.tenant")))
                kept.append((postgres.execute(FREE), tenant))

    assert kept == [([], "a"), ([(1,)], "")]


@confirms(RULE, TRAP)
async def two_reads_under_autocommit_may_differ(postgres):
    """As they may in a transaction, unless that is REPEATABLE READ."""
    seen = {}
    async with kinds(postgres.asyncpg) as (engine, *_):
        for level in ("AUTOCOMMIT", "READ COMMITTED", "REPEATABLE READ"):
            reads = async_sessionmaker(engine.execution_options(isolation_level=level))
            async with reads() as session:
                before = await session.scalar(COUNT)
                async with engine.begin() as other:
                    await other.execute(text("INSERT INTO items VALUES (3)"))
                seen[level] = await session.scalar(COUNT) - before

    assert seen == {"AUTOCOMMIT": 1, "READ COMMITTED": 1, "REPEATABLE READ": 0}


@confirms(RULE, TRAP)
async def a_connection_that_read_is_transactional_again(postgres):
    """The pool is shared: what a transaction does after a read can be rolled back."""
    async with kinds(postgres.asyncpg, pool_size=1, max_overflow=0) as (engine, sessions, reads):
        async with reads() as session:
            await session.scalar(COUNT)
        async with sessions() as session:
            await session.execute(text("DELETE FROM items"))
            await session.rollback()
        async with reads() as session:
            left = await session.scalar(COUNT)

    assert (left, engine.pool.checkedout()) == (1, 0)
