"""What sqlalchemy/migrations says about inserting many rows."""

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.harness import confirms, correct
from tests.rules.sqlalchemy.driving import driven

RULE = "sqlalchemy/migrations"


# Each inserted row takes a second.
CRAWL = """
    CREATE TABLE items (sku text PRIMARY KEY, price int, updated_at timestamptz);
    CREATE FUNCTION crawl() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(1); RETURN NEW; END $$;
    CREATE TRIGGER crawl BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION crawl()
"""


class Base(DeclarativeBase):
    pass


class Item(Base):
    """As the rule's import writes to it; every column has a default but the key."""

    __tablename__ = "items"
    sku: Mapped[str] = mapped_column(primary_key=True, server_default="none")
    price: Mapped[int] = mapped_column(server_default="5")
    updated_at: Mapped[datetime | None] = mapped_column(
        sa.DateTime(timezone=True), onupdate=sa.func.now()
    )


@asynccontextmanager
async def items(postgres):
    """A session on an empty table."""
    engine = create_async_engine(postgres.asyncpg)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
            await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(engine) as session:
            yield session
    finally:
        await engine.dispose()


async def stored(session):
    """What is in the table, in this session's transaction."""
    return [tuple(row) for row in await session.execute(sa.select(Item.sku, Item.price))]


def rows(count, start=0):
    return [{"sku": f"{n:06}", "price": n} for n in range(start, start + count)]


@confirms(RULE, "one-values-list")
async def an_import_can_be_repeated_and_the_last_line_of_a_key_wins(postgres):
    """A second run updates what the first stored, and a key may stand in the file twice."""
    load = correct(RULE, "import").load
    async with items(postgres) as session:
        for last in 2, 3:
            await load(session, [("a", 9), ("b", 1), ("a", 8), ("a", last)])
            await session.commit()

        assert sorted(await stored(session)) == [("a", 3), ("b", 1)]


@driven
async def test_an_import_can_go_in_chunks_of_one_transaction(postgres):
    """Each chunk is loaded by the rule's import, and none is stored before the commit."""
    load = correct(RULE, "import").load
    async with items(postgres) as session:
        for chunk in [("a", 1), ("b", 2)], [("a", 3)]:
            await load(session, chunk)
        before = postgres.execute("SELECT count(*) FROM items")
        await session.commit()

        assert before == [(0,)]
        assert sorted(await stored(session)) == [("a", 3), ("b", 2)]


@driven
async def test_an_import_can_be_repeated_in_a_test_that_rolls_back(postgres):
    """In the outer transaction of a fixture, where a commit releases a savepoint."""
    load = correct(RULE, "import").load
    async with items(postgres) as made:
        async with made.bind.connect() as connection:
            outer = await connection.begin()
            async with AsyncSession(
                connection, join_transaction_mode="create_savepoint"
            ) as session:
                for price in 1, 2:
                    await load(session, [("a", price)])
                    await session.commit()
                within = await stored(session)
            await outer.rollback()

        assert within == [("a", 2)]
        assert await stored(made) == []


@confirms(RULE, "timeouts-of-the-service")
async def timeouts_of_the_service_end_an_import(postgres):
    """A merge that outlasts one of the two fails; it ends well where neither applies."""
    load = correct(RULE, "import").load
    postgres.execute(CRAWL)

    async def outcome(first, command_timeout, sku):
        limits = {"server_settings": {"statement_timeout": "500"}}
        if command_timeout:
            limits["command_timeout"] = command_timeout
        engine = create_async_engine(postgres.asyncpg, poolclass=sa.NullPool, connect_args=limits)
        try:
            async with AsyncSession(engine) as session, session.begin():
                await session.execute(sa.text(first))
                await load(session, [(sku, 1)])
        except (DBAPIError, TimeoutError) as error:
            return getattr(getattr(error, "orig", error), "sqlstate", type(error))

    free = "SET LOCAL statement_timeout = 0"
    outcomes = await asyncio.gather(
        outcome("SELECT 1", None, "a"), outcome(free, 0.5, "b"), outcome(free, None, "c")
    )

    assert outcomes == ["57014", TimeoutError, None]
    assert postgres.execute("SELECT sku FROM items") == [("c",)]


@confirms(RULE, "keys-of-the-first-row")
async def core_drops_what_the_first_dict_lacks(postgres):
    """The price of the second row is lost without an error; insert(Model) stores it."""
    found = []
    for target in Item.__table__, Item:
        async with items(postgres) as session:
            await session.execute(sa.insert(target), [{"sku": "a"}, {"sku": "b", "price": 9}])
            found.append(dict(await stored(session)))

    assert found == [{"a": 5, "b": 5}, {"a": 5, "b": 9}]


@confirms(RULE, "keys-of-the-first-row")
async def an_empty_list_inserts_a_row(postgres):
    """No rows to insert becomes one row of defaults."""
    async with items(postgres) as session:
        await session.execute(sa.insert(Item), [])

        assert await stored(session) == [("none", 5)]


@pytest.mark.slow
@confirms(RULE, "one-values-list", limit=40)
async def a_values_list_has_a_parameter_for_each_value(postgres):
    """16,384 rows of two values are one too many for the protocol."""
    async with items(postgres) as session:
        with pytest.raises(DBAPIError, match="cannot exceed 32767"):
            await session.execute(sa.insert(Item).values(rows(16384)))


def merge(statement, **extra):
    return statement.on_conflict_do_update(
        index_elements=[Item.sku], set_={"price": statement.excluded.price, **extra}
    )


@pytest.mark.slow
@confirms(RULE, "one-values-list", limit=40)
async def a_list_of_parameters_knows_neither_limit(postgres):
    """The same rows as a second argument: no limit, and the last row of a key wins."""
    async with items(postgres) as session:
        await session.execute(merge(upsert(Item)), [*rows(16384), {"sku": "000000", "price": 7}])

        assert len(await stored(session)) == 16384
        assert ("000000", 7) in await stored(session)


@confirms(RULE, "one-values-list", limit=40)
async def returning_brings_the_repeated_key_back_as_an_error(postgres):
    """With RETURNING the list is sent as VALUES of several rows again; distinct keys are fine."""
    statement = merge(upsert(Item)).returning(Item.sku)
    async with items(postgres) as session:
        assert len((await session.scalars(statement, rows(16384))).all()) == 16384
        with pytest.raises(DBAPIError, match="cannot affect row a second time"):
            await session.execute(statement, rows(1) + rows(1))


@confirms(RULE, "one-values-list")
async def an_upsert_ignores_onupdate(postgres):
    """The row is changed and its updated_at is not, unless the statement sets it."""
    async with items(postgres) as session:
        await session.execute(sa.insert(Item), rows(1))
        found = []
        for extra in {}, {"updated_at": sa.func.now()}:
            await session.execute(merge(upsert(Item), **extra), [{"sku": "000000", "price": 9}])
            found.append(await session.scalar(sa.select(Item.updated_at)) is not None)

    assert found == [False, True]


async def copy(session, count):
    await session.execute(sa.text("SELECT 1"))
    raw = await (await session.connection()).get_raw_connection()
    await raw.driver_connection.copy_records_to_table(
        "items",
        records=[(row["sku"], row["price"]) for row in rows(count)],
        columns=["sku", "price"],
    )


async def unnest(session, count):
    await session.execute(
        sa.text("INSERT INTO items (sku, price) SELECT * FROM unnest(:a ::text[], :b ::int[])"),
        {"a": [row["sku"] for row in rows(count)], "b": [row["price"] for row in rows(count)]},
    )


async def insert_model(session, count):
    await session.execute(sa.insert(Item), rows(count))


async def add_all(session, count):
    session.add_all([Item(**row) for row in rows(count)])
    await session.flush()


async def flush_each(session, count):
    for row in rows(count // 50):
        session.add(Item(**row))
        await session.flush()


@pytest.mark.slow
@confirms(RULE, "objects-one-by-one", limit=30)
async def each_way_to_insert_costs_more_than_the_one_before(postgres):
    """Ratios of one run at 10,000 rows, the better of two, each within a wide band."""
    taken = {}
    for way in copy, unnest, insert_model, add_all, flush_each:
        async with items(postgres) as session:
            for _ in range(2):
                start = time.perf_counter()
                await way(session, 10_000)
                spent = time.perf_counter() - start
                await session.rollback()
                taken[way] = min(spent, taken.get(way, spent))
    taken[flush_each] *= 50  # it ran on a fiftieth of the rows
    ratios = {way.__name__: taken[way] / taken[copy] for way in taken}

    assert ratios["unnest"] < ratios["insert_model"] < ratios["add_all"] < ratios["flush_each"]
    assert ratios["unnest"] < 6
    assert 1.5 < ratios["insert_model"] < 20
    assert 5 < ratios["add_all"] < 80
    assert 40 < ratios["flush_each"] < 1500
