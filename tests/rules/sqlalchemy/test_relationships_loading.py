"""What the rule on relationships says of loading: what is sent, and what is made."""

import pytest
from sqlalchemy import ForeignKey, event, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import InvalidRequestError, MissingGreenlet
from sqlalchemy.orm import (
    DeclarativeBase,
    DynamicMapped,
    Mapped,
    WriteOnlyMapped,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
)

from tests.harness import confirms, correct
from tests.observers.statements import statements
from tests.rules.sqlalchemy.test_relationships import Line, Order, database, order_of

RULE = "sqlalchemy/relationships"


class Books(DeclarativeBase):
    """Collections without bound, in two mappings."""


class Account(Books):
    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    entries: Mapped[list["Entry"]] = relationship()
    dynamic: DynamicMapped["Entry"] = relationship(viewonly=True)
    written: WriteOnlyMapped["Entry"] = relationship(overlaps="entries")


class Entry(Books):
    __tablename__ = "entries"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))


@confirms(RULE, "large-collections")
async def a_query_makes_only_the_rows_that_are_shown(postgres):
    """A loader makes an object of each of 300 entries, a LIMIT or WriteOnlyMapped twenty."""
    made = []

    def record(target, context):
        made.append(target)

    account = Account(entries=[Entry() for _ in range(300)])
    async with database(postgres.asyncpg, account, base=Books) as (_, sessions):

        async def objects(read):
            made.clear()
            async with sessions() as session:
                return await read(session, await session.get(Account, 1)), len(made)

        async def loaded(session, account):
            await session.refresh(account, ["entries"])
            return len(account.entries[:20]), len(account.entries)

        async def queried(session, account):
            mine = Entry.account_id == account.id
            total = await session.scalar(select(func.count()).select_from(Entry).where(mine))
            return len((await session.scalars(select(Entry).where(mine).limit(20))).all()), total

        async def write_only(session, account):
            query = account.written.select()
            total = await session.scalar(select(func.count()).select_from(query.subquery()))
            return len((await session.scalars(query.limit(20))).all()), total

        event.listen(Entry, "load", record)
        try:
            found = [await objects(read) for read in (loaded, queried, write_only)]
        finally:
            event.remove(Entry, "load", record)

    assert found == [((20, 300), 300), ((20, 300), 20), ((20, 300), 20)]


@confirms(RULE, "large-collections")
async def a_count_of_nothing_named_is_one(postgres):
    """Without select_from() or a condition there is no table to count."""
    account = Account(entries=[Entry() for _ in range(3)])
    stored = database(postgres.asyncpg, account, base=Books)
    async with stored as (_, sessions), sessions() as session:
        alone = await session.scalar(select(func.count()))
        named = await session.scalar(select(func.count()).select_from(Entry))

    assert (alone, named) == (1, 3)


@confirms(RULE, "large-collections")
async def a_dynamic_collection_cannot_be_read(postgres):
    """Its query runs on access, which asyncio forbids."""
    stored = database(postgres.asyncpg, Account(), base=Books)
    async with stored as (_, sessions), sessions() as session:
        account = await session.get(Account, 1)
        with pytest.raises(MissingGreenlet):
            account.dynamic.limit(20).all()


@confirms(RULE, "two-joined-collections")
@pytest.mark.parametrize(("loader", "rows"), [(joinedload, 32), (selectinload, 2)])
async def two_collections_multiply_the_rows_of_one_statement(postgres, loader, rows):
    """Two orders with four lines and four notes each are 32 rows when both are joined."""
    query = select(Order).options(loader(Order.lines), loader(Order.notes))
    sql = str(query.compile(dialect=postgresql.dialect()))
    orders = [order_of("a", "b", "c", "d", notes=4) for _ in range(2)]
    async with database(postgres.asyncpg, *orders) as (engine, sessions):
        async with engine.connect() as connection:
            sent = (await connection.exec_driver_sql(sql)).all()
        async with sessions() as session:
            found = (await session.scalars(query)).unique().all()

    assert [(len(order.lines), len(order.notes)) for order in found] == [(4, 4)] * 2
    assert len(sent) == rows


@confirms(RULE, "two-joined-collections")
async def a_joined_collection_cannot_be_streamed(postgres):
    """yield_per refuses it; selectinload completes each batch."""

    async def streamed(loader):
        query = select(Order).options(loader(Order.lines)).execution_options(yield_per=2)
        async with sessions() as session:
            return [len(order.lines) async for order in await session.stream_scalars(query)]

    async with database(postgres.asyncpg, *[order_of("a", "b") for _ in range(5)]) as (_, sessions):
        with pytest.raises(InvalidRequestError):
            await streamed(joinedload)

        assert await streamed(selectinload) == [2] * 5


@confirms(RULE, "two-joined-collections")
async def a_joined_collection_demands_unique(postgres):
    """all() and one() refuse, first() does not."""
    query = select(Order).options(joinedload(Order.lines))
    stored = database(postgres.asyncpg, order_of("a", "b"))
    async with stored as (_, sessions), sessions() as session:
        for read in "all", "one":
            result = await session.scalars(query)
            with pytest.raises(InvalidRequestError, match="unique"):
                getattr(result, read)()

        assert len((await session.scalars(query)).first().lines) == 2


@confirms(RULE, "two-joined-collections")
async def the_correct_half_sends_one_statement_more_per_500(postgres):
    """The statements of `sizes`, by the number of comments."""
    half = correct(RULE, "forbid-implicit-loads")
    sent = {}
    async with database(postgres.asyncpg, base=half.Base) as (engine, sessions):
        for rows in 0, 1, 500, 501, 1001:
            stored = f"INSERT INTO comments SELECT FROM generate_series(1, {rows})"
            postgres.execute(f"TRUNCATE comments; {stored}")
            async with sessions() as session:
                with statements(engine) as found:
                    assert await half.sizes(session) == [0] * rows
            sent[rows] = len(found)

    assert sent == {0: 1, 1: 2, 500: 2, 501: 3, 1001: 4}


@confirms(RULE, "two-joined-collections")
async def one_parent_with_its_collection_is_one_statement_when_joined(postgres):
    """Two with selectinload, by get()."""
    sent = {}
    async with database(postgres.asyncpg, order_of("a", "b")) as (engine, sessions):
        for loader in joinedload, selectinload:
            async with sessions() as session:
                with statements(engine) as found:
                    order = await session.get(Order, 1, options=[loader(Order.lines)])
            assert len(order.lines) == 2
            sent[loader] = len(found)

    assert sent == {joinedload: 1, selectinload: 2}


@confirms(RULE, "two-joined-collections")
async def a_joined_many_to_one_sends_no_statement_of_its_own(postgres):
    """Six hundred lines, an order each, are one statement."""
    rows = [order_of("a") for _ in range(600)]
    async with database(postgres.asyncpg, *rows) as (engine, sessions), sessions() as session:
        with statements(engine) as sent:
            found = await session.scalars(select(Line).options(joinedload(Line.order)))
        placed = [line.order.placed for line in found]

    assert (len(placed), len(sent)) == (600, 1)


@confirms(RULE, "two-joined-collections")
async def select_in_reads_a_later_state_than_its_parents(postgres):
    """An order deleted between the two has no lines, unless the transaction keeps its snapshot."""

    def delete(conn, cursor, statement, *rest):
        if "FROM orders" in statement:
            postgres.execute("DELETE FROM orders")

    found = {}
    for level in "READ COMMITTED", "REPEATABLE READ":
        async with database(postgres.asyncpg, order_of("a", "b")) as (engine, sessions):
            event.listen(engine.sync_engine, "after_cursor_execute", delete)
            async with sessions() as session:
                await session.connection(execution_options={"isolation_level": level})
                order = await session.scalar(select(Order).options(selectinload(Order.lines)))
            found[level] = len(order.lines)

    assert found == {"READ COMMITTED": 0, "REPEATABLE READ": 2}
