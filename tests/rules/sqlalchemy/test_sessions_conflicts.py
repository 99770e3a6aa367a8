"""How the rule on sessions is known: what a refused row does to the rest of its transaction."""

import asyncio

import pytest
from sqlalchemy import ForeignKey, func, insert, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError, IntegrityError, MissingGreenlet
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.orm.exc import DetachedInstanceError

from tests.harness import confirms, correct
from tests.rules.sqlalchemy.test_sessions import Base, Item, names, stored

RULE = "sqlalchemy/sessions"
CONFLICT = "catch-a-conflict-around-a-savepoint"


class Parent(Base):
    __tablename__ = "parents"
    id: Mapped[int] = mapped_column(primary_key=True)
    kids: Mapped[list["Kid"]] = relationship()


class Kid(Base):
    __tablename__ = "kids"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int] = mapped_column(ForeignKey("parents.id"))
    code: Mapped[str] = mapped_column(unique=True)


def repository(session, model=Item):
    """The rule's own."""
    return correct(RULE, CONFLICT).Repository(session, model)


def test_a_violation_that_is_no_duplicate_leaves_the_repository(postgres):
    """The correct half answers False for a duplicate only; a NULL name is an error."""

    async def add_nameless() -> None:
        async with stored(postgres.asyncpg) as (_, sessions), sessions.begin() as session:
            await repository(session).add(Item(name=None))

    with pytest.raises(IntegrityError):
        asyncio.run(add_nameless())


def test_a_duplicate_added_before_is_not_blamed_on_the_next_row(postgres):
    """What another function left pending fails as itself, and the block does not end in silence."""

    async def work() -> list[str]:
        async with stored(postgres.asyncpg, "taken") as (_, sessions):

            async def use_case() -> None:
                async with sessions.begin() as session:
                    assert await repository(session).add(Item(name="first"))
                    session.add(Item(name="taken"))
                    await repository(session).add(Item(name="innocent"))

            with pytest.raises(IntegrityError, match="items_name_key"):
                await use_case()
            return await names(sessions)

    assert asyncio.run(work()) == ["taken"]


def test_a_duplicate_that_a_cascade_brought_in_raises(postgres):
    """A row that is in the session before add() is flushed outside the savepoint, and complains."""

    async def work() -> None:
        async with stored(postgres.asyncpg) as (_, sessions):

            async def append(code: str) -> bool:
                async with sessions.begin() as session:
                    session.add(parent := Parent(kids=[Kid(code="a")]))
                    await session.flush()
                    parent.kids.append(kid := Kid(code=code))
                    assert kid in session
                    return await repository(session, Kid).add(kid)

            with pytest.raises(IntegrityError, match="kids_code_key"):
                await append("a")
            assert await append("b") is True

    asyncio.run(work())


def test_a_duplicate_among_the_children_answers_for_the_row(postgres):
    """A fresh parent whose two children collide is False, is not stored, and spares the rest."""

    async def work() -> tuple[bool, list[str], int | None]:
        async with stored(postgres.asyncpg) as (_, sessions):
            async with sessions.begin() as session:
                session.add(Item(name="before"))
                parent = Parent(kids=[Kid(code="a"), Kid(code="a")])
                answer = await repository(session, Parent).add(parent)
            async with sessions() as session:
                parents = await session.scalar(select(func.count(Parent.id)))
            return answer, await names(sessions), parents

    assert asyncio.run(work()) == (False, ["before"], 0)


def test_a_deferrable_constraint_raises_at_commit(postgres):
    """add() has answered True for both rows when COMMIT refuses them."""

    async def work() -> list[str]:
        async with stored(postgres.asyncpg) as (_, sessions):
            postgres.execute(
                "ALTER TABLE items DROP CONSTRAINT items_name_key,"
                " ADD UNIQUE (name) DEFERRABLE INITIALLY DEFERRED"
            )
            async with sessions() as session:
                answers = [await repository(session).add(Item(name="x")) for _ in range(2)]
                assert answers == [True, True]
                with pytest.raises(IntegrityError):
                    await session.commit()
            return await names(sessions)

    assert asyncio.run(work()) == []


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"id": 1, "name": "other"}, "SQLITE_CONSTRAINT_PRIMARYKEY"),
        ({"id": 2, "name": "taken"}, "SQLITE_CONSTRAINT_UNIQUE"),
        ({"id": 2, "name": None}, "SQLITE_CONSTRAINT_NOTNULL"),
    ],
)
def test_sqlite_names_its_errors_otherwise(tmp_path, row, name):
    """There is no sqlstate on SQLite, so the half as shown lets a duplicate raise there."""

    async def work() -> tuple[str | None, str]:
        url = f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
        async with stored(url, "taken") as (_, sessions), sessions() as session:
            with pytest.raises(IntegrityError) as caught:
                await repository(session).add(Item(**row))
            return getattr(caught.value.orig, "sqlstate", None), caught.value.orig.sqlite_errorname

    assert asyncio.run(work()) == (None, name)


@confirms(RULE, "error-caught-in-the-block")
@pytest.mark.parametrize("end", ["begin", "commit"])
async def a_caught_error_of_a_statement_loses_the_block(postgres, end):
    """No error at the end, and nothing is stored; with a savepoint all but the statement is."""
    async with stored(postgres.asyncpg) as (_, sessions):

        async def block(name, step):
            session = sessions()
            async with session if end == "commit" else session.begin():
                session.add(Item(name=name))
                await session.flush()
                await step(session)
                if end == "commit":
                    await session.commit()
            await session.close()

        async def caught(session):
            with pytest.raises(DBAPIError):
                await session.execute(text("SELECT 1 / 0"))

        async def in_a_savepoint(session):
            with pytest.raises(DBAPIError):
                async with session.begin_nested():
                    await session.execute(text("SELECT 1 / 0"))

        await block("lost", caught)
        await block("kept", in_a_savepoint)

        assert await names(sessions) == ["kept"]


@confirms(RULE, "savepoint-per-row", limit=40)
async def sixty_five_savepoints_send_readers_to_the_pages_of_pg_subtrans(postgres):
    """A reader looks up no row after 64 calls, refused ones included, and each row after 65."""
    async with stored(postgres.asyncpg, "taken") as (engine, sessions):
        alone = engine.execution_options(isolation_level="AUTOCOMMIT")

        async def looked_up(reader):
            """Pages of pg_subtrans asked for since the server started."""
            await reader.execute(text("SELECT pg_stat_force_next_flush()"))
            pages = "SELECT blks_hit + blks_read FROM pg_stat_slru WHERE name ILIKE 'subtrans%'"
            return await reader.scalar(text(pages))

        async def lookups(reader):
            # A transaction begun later has ended: the reader cannot take all above for new.
            await reader.execute(insert(Parent))
            before = await looked_up(reader)
            assert await reader.scalar(select(func.count(Item.id))) == 1
            return await looked_up(reader) - before

        async with sessions() as session, alone.connect() as reader:
            for i in range(64):
                new = Item(name=f"row {i}" if i % 2 else "taken")
                assert await repository(session).add(new) is bool(i % 2)
            few = await lookups(reader)
            assert await repository(session).add(Item(name="the 65th"))
            many = await lookups(reader)
        async with sessions() as session, alone.connect() as reader:
            rows = [{"name": name} for i in range(99) for name in (f"row {i}", "taken")]
            new = postgresql.insert(Item).on_conflict_do_nothing().returning(Item.id)
            assert len((await session.scalars(new, rows)).all()) == 99
            none = await lookups(reader)

        assert many >= 33 > max(few, none)


@confirms(RULE, "rollback-expires-too")
async def a_rollback_expires_in_spite_of_the_factory_and_a_savepoint_what_it_saw(postgres):
    """Unreadable after rollback(); after a savepoint's, only the row that was changed inside."""
    async with stored(postgres.asyncpg, "a", "b", "c") as (_, sessions), sessions() as session:
        loaded, before, inside = (await session.scalars(select(Item).order_by(Item.id))).all()
        before.n = 1

        async def refused():
            async with session.begin_nested():
                inside.n = 2
                session.add(Item(name="a"))

        with pytest.raises(IntegrityError):
            await refused()
        assert (loaded.name, before.n) == ("a", 1)
        with pytest.raises(MissingGreenlet):
            _ = inside.n
        session.add(Item(name="a"))
        with pytest.raises(IntegrityError):
            await session.flush()
        await session.rollback()
        with pytest.raises(MissingGreenlet):
            _ = loaded.name


@confirms(RULE, "rollback-expires-too")
async def a_failed_block_leaves_its_rows_unreadable(postgres):
    """What the handler around a begin() block wants to log is expired, and has no session."""
    async with stored(postgres.asyncpg, "a") as (_, sessions):
        loaded = []

        async def use_case():
            async with sessions.begin() as session:
                loaded.append(await session.get(Item, 1))
                raise ValueError("the use case fails")

        with pytest.raises(ValueError, match="use case"):
            await use_case()
        with pytest.raises(DetachedInstanceError):
            _ = loaded[0].name
