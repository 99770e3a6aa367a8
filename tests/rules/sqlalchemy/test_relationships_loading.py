"""What the rule on relationships says of loading: large, joined and filtered collections."""

import pytest
from sqlalchemy import ForeignKey, event, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import InvalidRequestError, MissingGreenlet
from sqlalchemy.orm import (
    DeclarativeBase,
    DynamicMapped,
    Mapped,
    WriteOnlyMapped,
    contains_eager,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
)

from tests.harness import confirms
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
@pytest.mark.parametrize(("orders", "expected"), [(500, 2), (501, 3)])
async def select_in_sends_a_statement_per_500_parents(postgres, orders, expected):
    """One for the orders, one for each 500 of them; a joined many-to-one costs none."""
    rows = [order_of("a") for _ in range(orders)]
    async with database(postgres.asyncpg, *rows) as (engine, sessions):
        async with sessions() as session:
            with statements(engine) as collection:
                await session.scalars(select(Order).options(selectinload(Order.lines)))
        async with sessions() as session:
            with statements(engine) as many_to_one:
                found = await session.scalars(select(Line).options(joinedload(Line.order)))
                assert all(line.order.placed == 0 for line in found)

    assert (len(collection), len(many_to_one)) == (expected, 1)


@confirms(RULE, "rows-the-session-holds")
async def get_ignores_options_for_a_row_it_has(postgres):
    """The collection stays unloaded, unless populate_existing or select() is used."""
    options = [selectinload(Order.lines)]
    async with database(postgres.asyncpg, order_of("a")) as (_, sessions):

        async def lines(load):
            async with sessions() as session:
                _held = await session.get(Order, 1)
                return len((await load(session)).lines)

        with pytest.raises(InvalidRequestError):
            await lines(lambda s: s.get(Order, 1, options=options))
        again = await lines(lambda s: s.get(Order, 1, options=options, populate_existing=True))
        selected = await lines(lambda s: s.scalar(select(Order).options(*options)))

    assert (again, selected) == (1, 1)


@confirms(RULE, "rows-the-session-holds")
@pytest.mark.parametrize(
    "query",
    [
        select(Order).join(Order.lines).where(Line.sku == "a").options(contains_eager(Order.lines)),
        select(Order).options(selectinload(Order.lines.and_(Line.sku == "a"))),
    ],
    ids=["contains_eager", "and_"],
)
async def a_filtered_collection_stays_for_later_loads(postgres, query):
    """One of four lines is what a plain selectinload finds afterwards in the same session."""
    whole = select(Order).options(selectinload(Order.lines))
    order = order_of("a", "b", "c", "d")
    async with database(postgres.asyncpg, order) as (_, sessions), sessions() as session:
        held = (await session.scalars(query)).unique().one()
        later = len((await session.scalars(whole)).one().lines)
        await session.scalars(whole.execution_options(populate_existing=True))

        assert (later, len(held.lines)) == (1, 4)
