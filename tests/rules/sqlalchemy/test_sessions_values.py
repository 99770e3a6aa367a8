"""How the rule on sessions is known: traps of values and of tests, and what differs by version."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import requires

import asyncpg
import pytest
import sqlalchemy
from sqlalchemy import DateTime, ForeignKey, event, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError, InvalidRequestError, MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.harness import confirms
from tests.rules.sqlalchemy.test_sessions import Item, names, stored

RULE = "sqlalchemy/sessions"

ON_21 = tuple(map(int, sqlalchemy.__version__.split(".")[:2])) >= (2, 1)


@confirms(RULE, "rollback-expires-too")
async def a_rollback_expires_in_spite_of_the_factory_and_a_savepoint_does_not(postgres):
    """A row loaded before a conflict is unreadable after rollback(), readable after a savepoint."""
    async with stored(postgres.asyncpg, "a") as (_, sessions), sessions() as session:
        item = await session.get(Item, 1)
        with pytest.raises(IntegrityError):
            async with session.begin_nested():
                session.add(Item(name="a"))
        assert item.name == "a"
        session.add(Item(name="a"))
        with pytest.raises(IntegrityError):
            await session.flush()
        await session.rollback()
        with pytest.raises(MissingGreenlet):
            _ = item.name


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


@confirms(RULE, "test-session-without-a-savepoint")
@pytest.mark.parametrize(
    ("options", "seen"), [({}, []), ({"join_transaction_mode": "create_savepoint"}, ["kept"])]
)
async def a_rollback_undoes_the_applications_own_commit(postgres, options, seen):
    """Under a test's outer transaction the code commits, conflicts, rolls back and looks."""
    async with stored(postgres.asyncpg) as (engine, sessions):
        async with engine.connect() as connection:
            outer = await connection.begin()
            async with AsyncSession(connection, expire_on_commit=False, **options) as session:
                session.add(Item(name="kept"))
                await session.commit()
                session.add(Item(name="kept"))
                with pytest.raises(IntegrityError):
                    await session.commit()
                await session.rollback()
                found = list(await session.scalars(select(Item.name)))
            if outer.is_active:
                await outer.rollback()

        assert found == seen
        assert await names(sessions) == []


@confirms(RULE, "tests-on-sqlite")
async def sqlite_goes_on_after_an_error_and_keeps_a_savepoint(postgres, tmp_path):
    """The same two steps on both databases: a statement after a failed one, an outer rollback."""

    async def steps(url):
        async with stored(url, "taken") as (_, sessions):
            async with sessions() as session:
                with pytest.raises(IntegrityError):
                    await session.execute(insert(Item).values(name="taken"))
                try:
                    goes_on = await session.scalar(select(Item.name)) == "taken"
                except sqlalchemy.exc.DBAPIError:
                    goes_on = False
            async with sessions() as session:
                async with session.begin_nested():
                    session.add(Item(name="released"))
                await session.rollback()
            return goes_on, await names(sessions)

    assert await steps(f"sqlite+aiosqlite:///{tmp_path / 'test.db'}") == (
        True,
        ["taken", "released"],
    )
    assert await steps(postgres.asyncpg) == (False, ["taken"])


@confirms(RULE, "greenlet-on-2-1")
def the_package_alone_has_no_async_part():
    """2.0 asks for greenlet on common machines, 2.1 only in the extra its ImportError names."""
    asked = [each for each in requires("sqlalchemy") if each.startswith("greenlet")]
    without = "import sys; sys.modules['greenlet'] = None; from sqlalchemy.ext import asyncio"
    use = f"{without}; asyncio.AsyncSession"
    done = subprocess.run([sys.executable, "-c", use], capture_output=True, text=True)

    assert all("extra ==" in each for each in asked) is ON_21
    if ON_21:
        assert done.returncode
        assert "sqlalchemy[asyncio]" in done.stderr


@confirms(RULE, "plain-url-on-2-1")
def a_url_without_a_driver_means_psycopg():
    """create_async_engine takes it on 2.1; on 2.0 it asks for psycopg2 and refuses."""
    url = "postgresql://user@host/name"

    assert create_async_engine("postgresql+asyncpg://user@host/name").dialect.driver == "asyncpg"
    if ON_21:
        assert create_async_engine(url).dialect.driver == "psycopg"
    else:
        with pytest.raises((ModuleNotFoundError, InvalidRequestError)):
            create_async_engine(url)


@confirms(RULE, "autoflush-on-2-1")
async def text_sees_pending_objects(postgres):
    """A count by text() includes what was only added, on 2.1; select(Model) flushes on both."""
    async with stored(postgres.asyncpg) as (_, sessions), sessions() as session:
        session.add(Item(name="pending"))
        by_text = await session.scalar(text("SELECT count(*) FROM items"))
        by_orm = await session.scalar(select(func.count(Item.id)))

        assert by_text == (1 if ON_21 else 0)
        assert by_orm == 1


@confirms(RULE, "filter-by-on-2-1")
def a_name_in_two_entities_is_ambiguous():
    """filter_by(id=...) after a join raises on 2.1 and means the joined entity on 2.0."""

    class Joined(DeclarativeBase):
        pass

    class Author(Joined):
        __tablename__ = "author"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Book(Joined):
        __tablename__ = "book"
        id: Mapped[int] = mapped_column(primary_key=True)
        author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))

    query = select(Author).join(Book)

    assert "author.id = :id_1" in str(query.where(Author.id == 1))
    if ON_21:
        with pytest.raises(InvalidRequestError, match="ambiguous"):
            str(query.filter_by(id=1))
    else:
        assert "book.id = :id_1" in str(query.filter_by(id=1))
