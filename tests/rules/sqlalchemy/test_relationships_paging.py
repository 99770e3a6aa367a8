"""What the rule on relationships says of pages: by offset, by key, and what a cursor holds."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import DateTime, delete, func, select, text, tuple_, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import InvalidRequestError, ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.harness import confirms, correct
from tests.rules.sqlalchemy.test_relationships import Base, Line, Order, database, order_of, walk

RULE = "sqlalchemy/relationships"
BY_KEY = "page-by-a-unique-key"


def newest_first(*arguments):
    """The correct half."""
    return correct(RULE, BY_KEY).page(*arguments)


def oldest_first(query, at, key, last):
    """The correct half, turned round as the rule says."""
    if last:
        query = query.where(tuple_(at, key) > last)
    return query.order_by(at, key).limit(20)


DIRECTIONS = pytest.mark.parametrize("page", [newest_first, oldest_first])


@confirms(RULE, "offset")
@pytest.mark.parametrize("change", ["delete", "insert"])
async def a_change_on_page_one_shifts_page_two(postgres, change):
    """By OFFSET row 21 is never seen, or row 20 twice; by key neither."""
    rows = [Order(placed=n) for n in range(30, 0, -1)]
    async with database(postgres.asyncpg, *rows) as (_, sessions):
        query = select(Order.placed).order_by(Order.placed.desc(), Order.id.desc()).limit(20)
        async with sessions() as session:
            first = (await session.scalars(query)).all()
        async with sessions.begin() as session:
            if change == "delete":
                await session.execute(delete(Order).where(Order.placed == 30))
            else:
                session.add(Order(placed=31))
        async with sessions() as session:
            offset = (await session.scalars(query.offset(20))).all()
            last = 11, rows[19].id
            keyed = newest_first(select(Order.placed), Order.placed, Order.id, last)
            after = (await session.scalars(keyed)).all()

    assert first == list(range(30, 10, -1))
    assert offset[0] == {"delete": 9, "insert": 11}[change]
    assert after == list(range(10, 0, -1))


@confirms(RULE, "offset")
@DIRECTIONS
async def rows_that_stay_come_once_while_others_come_and_go(postgres, page):
    """Between pages the cursor's own row is deleted and rows appear at both ends."""
    rows = [Order(placed=n // 3) for n in range(100)]
    gone = set()
    async with database(postgres.asyncpg, *rows) as (_, sessions):
        seen = []
        async for found in walk(sessions, page, select(Order)):
            seen += [order.id for order in found]
            gone.add(found[-1].id)
            async with sessions.begin() as other:
                await other.execute(delete(Order).where(Order.id == found[-1].id))
                if len(gone) < 4:
                    other.add_all([Order(placed=-1), Order(placed=99)])

    stayed = {row.id for row in rows} - gone
    assert len(gone) > 4
    assert sorted(key for key in seen if key in stayed) == sorted(stayed)


@confirms(RULE, "null-in-a-sort-column")
async def a_walk_loses_rows_by_a_column_with_null(postgres):
    """Newest first ends in the NULLs before any other row, oldest first never comes to them."""
    rows = [Order(placed=n) for n in range(20)] + [Order(placed=None) for _ in range(20)]
    async with database(postgres.asyncpg, *rows) as (_, sessions):
        newest = [found async for found in walk(sessions, newest_first, select(Order))]
        oldest = [found async for found in walk(sessions, oldest_first, select(Order))]

    assert [order.placed for found in newest for order in found] == [None] * 20
    assert [order.placed for found in oldest for order in found] == list(range(20))


class Log(DeclarativeBase):
    """Rows with a moment."""


class Event(Log):
    __tablename__ = "events"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


async def shown(session, page, cursor=lambda *last: last):
    """The ids on up to twenty pages of events, by the cursors that a client hands back."""
    seen, last = [], None
    for _ in range(20):
        found = (await session.scalars(page(select(Event), Event.at, Event.id, last))).all()
        if not found:
            return seen, True
        seen += [event.id for event in found]
        last = cursor(found[-1].at, found[-1].id)
    return seen, False


def by_text(at, key):
    at, key = json.loads(json.dumps([at.isoformat(), str(key)]))
    return datetime.fromisoformat(at), UUID(key)


def by_milliseconds(at, key):
    return datetime.fromisoformat(at.isoformat(timespec="milliseconds")), key


@confirms(RULE, "cursor-values")
async def a_cursor_cut_to_milliseconds_skips_or_repeats(postgres):
    """Sixty events, 137 microseconds apart: rows are lost, or come again without end."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [Event(at=start + timedelta(microseconds=137 * n)) for n in range(60)]
    stored = database(postgres.asyncpg, *rows, base=Log)
    async with stored as (_, sessions), sessions() as session:

        async def faults(page, cursor):
            seen, ended = await shown(session, page, cursor)
            return len(set(seen)) < len(rows), len(set(seen)) < len(seen), not ended

        whole = [await faults(page, by_text) for page in (newest_first, oldest_first)]
        newest = await faults(newest_first, by_milliseconds)
        oldest = await faults(oldest_first, by_milliseconds)

    assert whole == [(False, False, False)] * 2
    assert newest == (True, False, False)
    assert oldest == (False, True, True)


@confirms(RULE, "cursor-values")
async def a_moment_or_a_number_as_text_is_refused(postgres):
    """PostgreSQL compares neither with text."""
    moment = newest_first(select(Event), Event.at, Event.id, ("2026-01-01T00:00:00Z", uuid4()))
    number = newest_first(select(Order), Order.placed, Order.id, (1, "2"))
    for query, base in (moment, Log), (number, Base):
        stored = database(postgres.asyncpg, base=base)
        async with stored as (_, sessions), sessions() as session:
            with pytest.raises(ProgrammingError, match="operator does not exist"):
                await session.scalars(query)


@confirms(RULE, "rows-that-move-or-commit-late")
@pytest.mark.parametrize(
    ("moved", "to", "times"), [(1, 99, 0), (30, 0, 2)], ids=["not at all", "twice"]
)
async def a_row_that_moves_between_pages_comes_twice_or_not_at_all(postgres, moved, to, times):
    """Row 1 of 30 is updated before it was shown, row 30 after it was."""
    rows = [Order(placed=n) for n in range(1, 31)]
    moving = update(Order).where(Order.placed == moved).values(placed=to)
    async with database(postgres.asyncpg, *rows) as (_, sessions):
        seen = []
        async for found in walk(sessions, newest_first, select(Order)):
            seen += [order.id for order in found]
            async with sessions.begin() as other:
                await other.execute(moving)

    assert seen.count(rows[moved - 1].id) == times


@confirms(RULE, "rows-that-move-or-commit-late")
async def a_row_committed_into_pages_already_read_is_missed(postgres):
    """A new walk shows it, an export that goes on never does, unless it kept off young rows."""
    early, late, newest = (Event(id=UUID(int=n)) for n in (1, 2, 3))

    async def export(last, before=None):
        query = select(Event) if before is None else select(Event).where(Event.at < before)
        async with sessions() as session:
            page = oldest_first(query, Event.at, Event.id, last)
            return [(event.at, event.id) for event in await session.scalars(page)]

    async with database(postgres.asyncpg, early, base=Log) as (_, sessions), sessions() as writer:
        writer.add(late)
        await writer.flush()
        began = await writer.scalar(select(func.now()))
        async with sessions.begin() as session:
            session.add(newest)
        first, kept_off = await export(None), await export(None, before=began)
        await writer.commit()
        went_on, careful = await export(first[-1]), await export(kept_off[-1])
        async with sessions() as session:
            walked, _ = await shown(session, newest_first)

    assert [key for _, key in first] == [early.id, newest.id]
    assert went_on == []
    assert [key for _, key in kept_off + careful] == [early.id, late.id, newest.id]
    assert walked == [newest.id, late.id, early.id]


@confirms(RULE, "offset")
async def an_index_on_both_columns_replaces_the_sort(postgres):
    """Of 5,000 orders PostgreSQL sorts all that follow, until there is an index on the pair."""
    rows = "INSERT INTO orders (placed) SELECT n / 3 FROM generate_series(1, 5000) AS n"
    options = {"dialect": postgresql.dialect(), "compile_kwargs": {"literal_binds": True}}

    def plan(page):
        statement = page(select(Order.id), Order.placed, Order.id, (800, 2402))
        explain = f"EXPLAIN {statement.compile(**options)}"
        return " ".join(line for (line,) in postgres.execute(explain))

    async with database(postgres.asyncpg):
        postgres.execute(rows)
        postgres.execute("ANALYZE orders")
        without = [plan(newest_first), plan(oldest_first)]
        postgres.execute("CREATE INDEX ON orders (placed, id)")
        indexed = [plan(newest_first), plan(oldest_first)]

    assert all("Sort" in each for each in without)
    assert all("Index Cond: (ROW(placed, id)" in each for each in indexed)
    assert not any("Sort" in each for each in indexed)


@confirms(RULE, "offset")
async def a_page_without_an_order_is_any_twenty(postgres):
    """Once updates have moved rows, only ORDER BY finds the twenty parents with the lowest keys."""
    page = correct(RULE, "filter-parents-by-exists").page
    ordered = page(select(Order), Order.lines, Line.sku == "a", Order.id)
    rows = [order_of("a") for _ in range(60)]
    async with database(postgres.asyncpg, *rows) as (_, sessions):
        async with sessions.begin() as session:
            await session.execute(text("UPDATE orders SET placed = 1 WHERE id <= 30"))
        async with sessions() as session:
            first = {order.id for order in await session.scalars(ordered)}
            any_twenty = {order.id for order in await session.scalars(ordered.order_by(None))}

    assert first == {row.id for row in rows[:20]}
    assert len(any_twenty) == 20
    assert any_twenty != first


@confirms(RULE, "offset")
async def any_is_for_collections_and_has_for_the_other_side(postgres):
    """EXISTS on a many-to-one is spelled has(); any() refuses before a statement is made."""
    page = correct(RULE, "filter-parents-by-exists").page
    with pytest.raises(InvalidRequestError, match="has"):
        page(select(Line), Line.order, Order.placed == 1, Line.id)
    mine, other = order_of("a", placed=1), order_of("b")
    async with database(postgres.asyncpg, mine, other) as (_, sessions), sessions() as session:
        found = await session.scalars(select(Line.sku).where(Line.order.has(Order.placed == 1)))

        assert list(found) == ["a"]
