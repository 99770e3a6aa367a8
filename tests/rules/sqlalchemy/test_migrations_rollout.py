"""What sqlalchemy/migrations says about the code that still runs beside a changed schema."""

import asyncio
import enum

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.harness import confirms
from tests.observers.blocked import blocked, holding
from tests.rules.sqlalchemy.driving import driven

RULE = "sqlalchemy/migrations"
LONGER = "ALTER TABLE members ALTER nick TYPE varchar(60)"
STALE = "cached statement plan is invalid due to a database schema or configuration change"


class State(enum.StrEnum):
    new = "new"


class Base(DeclarativeBase):
    pass


class Member(Base):
    """As the release that still runs knows the table."""

    __tablename__ = "members"
    id: Mapped[int] = mapped_column(primary_key=True)
    nick: Mapped[str] = mapped_column(sa.String(50))
    state: Mapped[State] = mapped_column(server_default="new")


SELECT = sa.select(Member)


class Service:
    """A process of the old release: a pool whose connections have all run the statement."""

    def __init__(self, postgres, statement=SELECT, **connect_args):
        self.engine = create_async_engine(
            postgres.asyncpg, pool_size=4, max_overflow=0, connect_args=connect_args
        )
        self.sessions = async_sessionmaker(self.engine)
        self.statement = statement

    async def __aenter__(self):
        async with self.engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
            await connection.run_sync(Base.metadata.create_all)
        async with self.sessions.begin() as session:
            session.add(Member(nick="ann"))
        for _ in range(2):
            assert await self.requests() == []
        return self

    async def __aexit__(self, *error):
        await self.engine.dispose()

    async def request(self, together=None):
        async with self.sessions.begin() as session:
            await session.connection()
            if together:
                await together.wait()
            (await session.execute(self.statement)).all()

    async def repeating(self, together=None):
        """As the page says: the unit of work once more, by the class of the driver's error."""
        try:
            await self.request(together)
        except DBAPIError as error:
            if type(error.orig).__name__ != "InvalidCachedStatementError":
                raise
            await self.request()

    async def requests(self, request=None):
        """The errors of one request on each connection of the pool at the same time."""
        together = asyncio.Barrier(4)
        work = [(request or self.request)(together) for _ in range(4)]
        return [each for each in await asyncio.gather(*work, return_exceptions=True) if each]


@driven
async def test_a_longer_varchar_fails_requests_of_a_running_process_once(postgres):
    """Those under way fail, and not as a conflict worth a retry; all later ones do not."""
    async with Service(postgres) as service:
        postgres.execute(LONGER)

        errors = await service.requests()
        assert errors
        for error in errors:
            assert isinstance(error, NotSupportedError)
            assert STALE in str(error)
            assert getattr(error.orig, "sqlstate", None) not in {"40001", "40P01"}

        assert [await service.requests() for _ in range(3)] == [[], [], []]


@driven
async def test_a_repeated_unit_of_work_survives_it(postgres):
    """Nothing fails when the class of the error decides."""
    async with Service(postgres) as service:
        postgres.execute(LONGER)

        assert await service.requests(service.repeating) == []


@driven
async def test_an_engine_without_that_cache_survives_it(postgres):
    """With prepared_statement_cache_size=0 nothing fails."""
    async with Service(postgres, prepared_statement_cache_size=0) as service:
        postgres.execute(LONGER)

        assert await service.requests() == []


@driven
async def test_a_new_column_breaks_only_select_star(postgres):
    """ADD COLUMN is not seen by a select of the model; SELECT * fails as after a new type."""
    found = []
    for statement in SELECT, sa.text("SELECT * FROM members"):
        async with Service(postgres, statement) as service:
            postgres.execute("ALTER TABLE members ADD note text")
            found.append([STALE in str(error) for error in await service.requests()])

    of_the_model, of_the_star = found
    assert of_the_model == []
    assert of_the_star
    assert all(of_the_star)


@confirms(RULE, "one-release-for-all-steps")
async def one_row_with_an_unknown_value_fails_the_whole_query(postgres):
    """The old release cannot read even the rows that it knows."""
    async with Service(postgres) as service:
        postgres.execute("ALTER TYPE state ADD VALUE 'paid'")
        assert await service.requests() == []
        postgres.execute("INSERT INTO members (nick, state) VALUES ('bob', 'paid')")

        with pytest.raises(LookupError, match="'paid' is not among the defined enum values"):
            await service.request()


@confirms(RULE, "one-release-for-all-steps")
async def the_old_release_inserts_without_the_new_column(postgres):
    """Nullable or with a constant default it goes on; once NOT NULL its INSERT is refused."""
    async with Service(postgres) as service:

        async def insert():
            async with service.sessions.begin() as session:
                session.add(Member(nick="bob"))

        postgres.execute("ALTER TABLE members ADD note text, ADD score int NOT NULL DEFAULT 0")
        await insert()
        postgres.execute(
            "UPDATE members SET note = ''; ALTER TABLE members ALTER note SET NOT NULL"
        )

        with pytest.raises(IntegrityError, match='null value in column "note"'):
            await insert()


@confirms(RULE, "one-release-for-all-steps")
async def the_old_release_selects_the_dropped_column(postgres):
    """It is in its models, so every select of them fails."""
    async with Service(postgres) as service:
        postgres.execute("ALTER TABLE members DROP nick")

        with pytest.raises(ProgrammingError, match=r"column members\.nick does not exist"):
            await service.request()


@confirms(RULE, "one-release-for-all-steps")
async def a_release_whose_models_lack_the_old_column_needs_it_nullable(postgres):
    """Its INSERT names the new column only."""

    class Later(DeclarativeBase):
        pass

    class LaterMember(Later):
        __tablename__ = "members"
        id: Mapped[int] = mapped_column(primary_key=True)

    async with Service(postgres) as service:

        async def insert():
            async with service.sessions.begin() as session:
                session.add(LaterMember())

        with pytest.raises(IntegrityError, match='null value in column "nick"'):
            await insert()
        postgres.execute("ALTER TABLE members ALTER nick DROP NOT NULL")
        await insert()

    assert postgres.execute("SELECT count(*) FROM members") == [(2,)]


@pytest.fixture
def family(postgres):
    """A parent and a child with a row each."""
    postgres.execute(
        "CREATE TABLE parents (id int PRIMARY KEY); INSERT INTO parents VALUES (1);"
        "CREATE TABLE children (id int, parent int, n int); INSERT INTO children VALUES (1, 1, 1)"
    )
    return postgres


async def writers_wait(database):
    """Whether writers of the parent and of the child wait for somebody."""
    return (
        await blocked(database.url, "INSERT INTO parents VALUES (2)"),
        await blocked(database.url, "INSERT INTO children VALUES (2, 1, 1)"),
    )


@confirms(RULE, "foreign-keys-and-wider-types")
async def a_foreign_key_stops_writers_of_both_tables(family):
    """They wait until its transaction ends, but not for a validation in another."""
    add = "ALTER TABLE children ADD CONSTRAINT fk FOREIGN KEY (parent) REFERENCES parents (id)"
    async with holding(family.url, add):
        assert await writers_wait(family) == (True, True)
        assert not await blocked(family.url, "SELECT * FROM parents, children")

    validate = "ALTER TABLE children VALIDATE CONSTRAINT fk"
    async with holding(family.url, f"{add} NOT VALID; {validate}"):
        assert await writers_wait(family) == (True, True)
    family.execute(f"{add} NOT VALID")
    async with holding(family.url, validate):
        assert await writers_wait(family) == (False, False)


@confirms(RULE, "foreign-keys-and-wider-types")
async def only_the_validation_reads_the_rows(family):
    """A row without a parent does not disturb NOT VALID."""
    family.execute("DELETE FROM parents")
    add = "ALTER TABLE children ADD CONSTRAINT fk FOREIGN KEY (parent) REFERENCES parents (id)"

    family.execute(f"{add} NOT VALID")
    with pytest.raises(Exception, match="violates foreign key constraint"):
        family.execute("ALTER TABLE children VALIDATE CONSTRAINT fk")


@confirms(RULE, "foreign-keys-and-wider-types")
async def a_wider_type_rewrites_the_table_and_stops_readers(family):
    """int to bigint makes a new file; a nullable column does not."""
    file = "SELECT pg_relation_filenode('children')"
    before = family.execute(file)
    family.execute("ALTER TABLE children ADD wide bigint")
    assert family.execute(file) == before

    async with holding(family.url, "ALTER TABLE children ALTER n TYPE bigint"):
        assert await blocked(family.url, "SELECT * FROM children")

    family.execute("ALTER TABLE children ALTER n TYPE bigint")
    assert family.execute(file) != before
