"""How the rule on sessions is known: traps of the values that a session holds."""

import asyncio
import os
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar

import asyncpg
import pytest
from sqlalchemy import DateTime, event, func, insert, select, text, update
from sqlalchemy.exc import InvalidRequestError, MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.harness import confirms, correct, incorrect
from tests.observers.statements import statements
from tests.rules.sqlalchemy.test_sessions import Item, stored

RULE = "sqlalchemy/sessions"

COMPUTED = "return-what-the-database-computes"


@asynccontextmanager
async def saved(url, base, *rows):
    """A session that has stored these rows, in tables made for them, and its engine."""
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(base.metadata.create_all)
        async with AsyncSession(engine, expire_on_commit=False) as session:
            session.add_all(rows)
            await session.commit()
            yield engine, session
    finally:
        await engine.dispose()


@pytest.mark.parametrize("half", [incorrect, correct])
def test_a_flush_sends_an_update_for_each_row(postgres, half):
    """One statement for fifty rows becomes fifty; a list of dicts is one, and expires nothing."""
    module = half(RULE, COMPUTED)

    async def count() -> tuple[int, int]:
        notes = [module.Note(text="draft") for _ in range(50)]
        async with saved(postgres.asyncpg, module.Base, *notes) as (engine, session):
            rows = [{"id": note.id, "text": "list"} for note in notes]
            for note in notes:
                note.text = "final"
            with statements(engine) as flushed:
                await session.flush()
            with statements(engine) as listed:
                await session.execute(update(module.Note), rows)
            assert {note.text for note in notes} == {"list"}
            return len(flushed), len(listed)

    assert asyncio.run(count()) == (1 if half is incorrect else 50, 1)


@confirms(RULE, "eager-defaults-lost")
async def mapper_arguments_of_a_models_own_replace_those_of_base(postgres):
    """A model with a version column cannot read what UPDATE set, unless it repeats the setting."""
    base = correct(RULE, COMPUTED).Base

    class Edited:
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str]
        version: Mapped[int]
        edited: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())

    class Lost(Edited, base):
        __tablename__ = "lost"
        version: Mapped[int] = mapped_column()
        __mapper_args__: ClassVar[Any] = {"version_id_col": version}

    class LostByKind(Edited, base):
        __tablename__ = "lost_by_kind"
        version: Mapped[int] = mapped_column(default=1)
        kind: Mapped[str]
        __mapper_args__: ClassVar[Any] = {"polymorphic_on": "kind", "polymorphic_identity": "a"}

    class Kept(Edited, base):
        __tablename__ = "kept"
        version: Mapped[int] = mapped_column()
        __mapper_args__: ClassVar[Any] = {**base.__mapper_args__, "version_id_col": version}

    async def readable(row):
        async with saved(postgres.asyncpg, base, row) as (_, session):
            row.text = "final"
            await session.commit()
            try:
                return row.edited is not None
            except MissingGreenlet:
                return False

    assert [await readable(each(text="a")) for each in (Lost, LostByKind, Kept)] == [
        False,
        False,
        True,
    ]


@confirms(RULE, "stale-rows-in-the-session")
@pytest.mark.parametrize("how", ["text", "unsynchronized"])
async def a_row_selected_again_keeps_its_old_values(postgres, how):
    """What SQLAlchemy could not see is not read from the next SELECT either."""
    write = {
        "text": text("UPDATE items SET n = 5"),
        "unsynchronized": update(Item).values(n=5),
    }[how]
    blind = {"synchronize_session": False} if how == "unsynchronized" else {}
    async with stored(postgres.asyncpg, "a") as (_, sessions), sessions() as session:
        item = await session.get(Item, 1)
        await session.execute(write, execution_options=blind)
        await session.scalars(select(Item))
        stale = item.n
        await session.scalars(select(Item).execution_options(populate_existing=True))

        assert (stale, item.n) == (0, 5)


@confirms(RULE, "stale-rows-in-the-session")
async def a_counter_is_computed_from_what_a_loaded_row_held(postgres):
    """Another request raised it to 40: RETURNING says 41, the object selected again says 1."""
    count = update(Item).where(Item.id == 1).values(n=Item.n + 1).returning(Item.n)
    async with stored(postgres.asyncpg, "a") as (_, sessions), sessions() as session:
        item = await session.get(Item, 1)
        async with sessions.begin() as other:
            await other.execute(update(Item).values(n=40))
        returned = await session.scalar(count)
        await session.scalars(select(Item))
        held = item.n
        await session.scalars(select(Item).execution_options(populate_existing=True))

        assert (returned, held, item.n) == (41, 1, 41)


@confirms(RULE, "stale-rows-in-the-session")
async def a_list_of_dicts_leaves_a_loaded_row_its_computed_value(postgres):
    """The text is new, `edited` is not, until it is selected over the loaded object."""
    module = correct(RULE, COMPUTED)
    note = module.Note(text="draft")
    async with saved(postgres.asyncpg, module.Base, note) as (_, session):
        edited = note.edited
        await session.execute(update(module.Note), [{"id": note.id, "text": "final"}])
        await session.scalars(select(module.Note))
        held = note.edited
        refreshed = select(module.Note).execution_options(populate_existing=True)
        await session.scalars(refreshed)

        assert note.text == "final"
        assert held == edited < note.edited


@confirms(RULE, "session-used-after-its-block")
async def a_closed_session_takes_a_connection_again(postgres):
    """A statement on a session whose block has ended holds a connection, unless forbidden."""
    async with stored(postgres.asyncpg, "a") as (engine, sessions):
        async with sessions() as session:
            assert await session.scalar(select(Item.name)) == "a"
        free = engine.pool.checkedout()
        assert await session.scalar(select(Item.name)) == "a"
        held = engine.pool.checkedout()
        await session.close()
        async with async_sessionmaker(engine, close_resets_only=False)() as session:
            assert await session.scalar(select(Item.name)) == "a"
        with pytest.raises(InvalidRequestError):
            await session.scalar(select(Item.name))

        assert (free, held) == (0, 1)


@confirms(RULE, "stream-without-yield-per")
@pytest.mark.parametrize(("options", "expected"), [({}, 300), ({"yield_per": 50}, 50)])
async def a_stream_loads_everything_before_its_first_row(postgres, options, expected):
    """Objects made when the first one arrives: all of them, or one batch."""
    made = 0

    def count(target, context):
        nonlocal made
        made += 1

    async with stored(postgres.asyncpg) as (_, sessions), sessions() as session:
        await session.execute(insert(Item), [{"name": f"{i}"} for i in range(300)])
        event.listen(Item, "load", count)
        try:
            statement = select(Item).execution_options(**options)
            async for _ in await session.stream_scalars(statement):
                at_first = made
                break
        finally:
            event.remove(Item, "load", count)

        assert at_first == expected


@confirms(RULE, "stream-without-yield-per")
async def a_commit_inside_a_stream_kills_its_cursor(postgres):
    """The reader's commit ends the stream with the driver's error; a second session's does not."""
    async with stored(postgres.asyncpg, *map(str, range(30))) as (_, sessions):
        statement = select(Item.id).execution_options(yield_per=10)

        async def walk(writer):
            async with sessions() as reader:
                writer = writer or reader
                seen = 0
                async for ids in (await reader.stream_scalars(statement)).partitions():
                    await writer.execute(update(Item).where(Item.id.in_(ids)).values(n=1))
                    await writer.commit()
                    seen += len(ids)
                return seen

        with pytest.raises(asyncpg.PostgresError):
            await walk(None)
        async with sessions() as writer:
            assert await walk(writer) == 30


@confirms(RULE, "naive-datetimes")
async def a_naive_value_is_read_in_the_process_time_zone(postgres, monkeypatch):
    """Noon without a zone is stored as 17:00 UTC by a process in New York."""

    class Zoned(DeclarativeBase):
        pass

    class Alarm(Zoned):
        __tablename__ = "alarms"
        id: Mapped[int] = mapped_column(primary_key=True)
        at: Mapped[datetime] = mapped_column(DateTime(timezone=True))

    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    engine = create_async_engine(postgres.asyncpg)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Zoned.metadata.create_all)
        async with AsyncSession(engine) as session:
            session.add(Alarm(at=datetime(2026, 1, 1, 12)))
            await session.flush()
            session.add(Alarm(at=datetime(2026, 1, 1, 12, tzinfo=UTC)))
            await session.commit()
            stored_values = await session.scalars(select(Alarm.at).order_by(Alarm.id))
            hours = [value.astimezone(UTC).hour for value in stored_values]
    finally:
        await engine.dispose()
        monkeypatch.undo()
        time.tzset()

    assert hours == [17, 12]
    assert os.environ.get("TZ") != "America/New_York"
