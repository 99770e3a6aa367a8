"""What the rule on relationships says of rows that a session holds: locked, refreshed, loaded."""

import pytest
from sqlalchemy import ForeignKey, select
from sqlalchemy.exc import DBAPIError, InvalidRequestError, MissingGreenlet
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    contains_eager,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
)

from tests.harness import confirms
from tests.rules.sqlalchemy.test_relationships import Line, Order, database, order_of

RULE = "sqlalchemy/relationships"
REFUSED = "FOR UPDATE cannot be applied to the nullable side of an outer join"


@confirms("sqlalchemy/sessions", "lock-on-a-loaded-row")
@pytest.mark.parametrize(
    ("model", "loader"), [(Line, joinedload(Line.order)), (Order, joinedload(Order.lines))]
)
@pytest.mark.parametrize("later", [False, True], ids=["query", "refresh"])
async def a_lock_on_an_outer_join_is_refused_unless_it_names_its_table(
    postgres, model, loader, later
):
    """A many-to-one that is NOT NULL too, and a refresh of what was loaded so."""
    query = select(model).options(loader)
    async with database(postgres.asyncpg, order_of("a")) as (_, sessions):

        async def locked(of):
            async with sessions() as session:
                if not later:
                    query_locks = query.with_for_update(of=of)
                    return (await session.scalars(query_locks)).first()
                row = (await session.scalars(query)).first()
                await session.refresh(row, with_for_update={"of": of} if of else True)
                return row

        with pytest.raises(DBAPIError, match=REFUSED):
            await locked(None)
        row = await locked(model)

    assert row.id == 1


class Every(DeclarativeBase):
    """The cascade that most code declares."""


class Parent(Every):
    __tablename__ = "parents"
    id: Mapped[int] = mapped_column(primary_key=True)
    placed: Mapped[int | None]
    lines: Mapped[list["Child"]] = relationship(cascade="all, delete-orphan", lazy="raise_on_sql")


class Child(Every):
    __tablename__ = "children"
    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str]
    parent_id: Mapped[int] = mapped_column(ForeignKey("parents.id"))


@confirms(RULE, "refresh-after-loading")
@pytest.mark.parametrize("constructed", [False, True], ids=["loaded", "constructed"])
@pytest.mark.parametrize(("parent", "child"), [(Order, Line), (Parent, Child)], ids=["ours", "all"])
async def a_refresh_drops_the_collection_and_all_expires_its_rows(
    postgres, parent, child, constructed
):
    """The list is unloaded again; a held line is readable unless the cascade is "all"."""
    row = parent(lines=[child(sku="a")])
    rows = [] if constructed else [row]
    stored = database(postgres.asyncpg, *rows, base=parent.__base__)
    async with stored as (_, sessions), sessions() as session:
        if constructed:
            session.add(row)
            await session.flush()
        else:
            row = await session.get(parent, 1)
        for lock in None, True:
            if not constructed or lock:
                await session.refresh(row, ["lines"])
            (line,) = row.lines
            await session.refresh(row, with_for_update=lock)

            with pytest.raises(InvalidRequestError, match="raise_on_sql"):
                _ = row.lines
            if parent is Parent:
                with pytest.raises(MissingGreenlet):
                    _ = line.sku
            else:
                assert line.sku == "a"


@confirms(RULE, "refresh-after-loading")
async def a_refresh_discards_what_is_not_flushed(postgres):
    """Autoflush comes too late for it; lines loaded afterwards can be read."""
    async with database(postgres.asyncpg, order_of("a", placed=1)) as (_, sessions):

        async def refreshed(flush):
            async with sessions() as session:
                order = await session.get(Order, 1)
                order.placed = 2
                if flush:
                    await session.flush()
                await session.refresh(order, with_for_update=True)
                await session.refresh(order, ["lines"])
                return order.placed, len(order.lines)

        found = [await refreshed(flush) for flush in (False, True)]

    assert found == [(1, 1), (2, 1)]


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


@confirms(RULE, "rows-the-session-holds")
async def populate_existing_on_the_query_that_filters_does_not_help(postgres):
    """It belongs to the later query."""
    option = selectinload(Order.lines.and_(Line.sku == "a"))
    first = select(Order).options(option).execution_options(populate_existing=True)
    order = order_of("a", "b", "c", "d")
    async with database(postgres.asyncpg, order) as (_, sessions), sessions() as session:
        _held = (await session.scalars(first)).one()
        later = await session.scalar(select(Order).options(selectinload(Order.lines)))

    assert len(later.lines) == 1


@confirms(RULE, "rows-the-session-holds")
async def populate_existing_overwrites_what_is_not_flushed(postgres):
    """Autoflush, or a flush before, sends the change first, to get() and to a query."""
    query = select(Order).execution_options(populate_existing=True)
    reads = [
        lambda session: session.get(Order, 1, populate_existing=True),
        lambda session: session.scalars(query),
    ]

    async def placed(autoflush, flush):
        found = []
        for read in reads:
            async with sessions(autoflush=autoflush) as session:
                order = await session.get(Order, 1)
                order.placed = 2
                if flush:
                    await session.flush()
                await read(session)
                found.append(order.placed)
        return found

    async with database(postgres.asyncpg, order_of(placed=1)) as (_, sessions):
        assert await placed(autoflush=True, flush=False) == [2, 2]
        assert await placed(autoflush=False, flush=True) == [2, 2]
        assert await placed(autoflush=False, flush=False) == [1, 1]
