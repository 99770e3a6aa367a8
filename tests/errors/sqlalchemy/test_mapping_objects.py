"""Texts of what is put into relationships and Enum columns."""

import enum

import sqlalchemy as sa
from sqlalchemy import ForeignKey, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from tests.errors.sqlalchemy.shop import Line, Order
from tests.harness.errors import produces


class Status(enum.Enum):
    ACTIVE = "active"


STORED_AS = {
    "names": sa.Enum(Status, name="status"),
    "values": sa.Enum(Status, name="status", values_callable=lambda e: [m.value for m in e]),
}


@produces("sqlalchemy", "has no attribute '_sa_instance_state'")
def a_dict_is_put_into_a_relationship(cured):
    """Nested data of a request is passed on to a mapped class as it came."""
    data = {"id": 1, "lines": [{"id": 1}]}
    lines = [Line(**line) for line in data["lines"]] if cured else data["lines"]
    Order(id=data["id"], lines=lines)


@produces("sqlalchemy", "Incompatible collection type")
def one_object_is_assigned_to_a_collection(cured):
    """An order has one line, which is passed without a list."""
    line = Line(id=1)
    Order(id=1, lines=[line] if cured else line)


@produces("sqlalchemy", "not in session, add operation along")
async def a_child_is_never_added(shop, cured):
    """A new line names its order, and the session is not told of it."""
    async with shop.sessions() as sessions, sessions() as session:
        order = Order(lines=[])
        session.add(order)
        await session.flush()
        line = Line(order=order)
        if cured:
            session.add(line)
        await session.flush()

        assert (line.id is not None) is cured


@produces("sqlalchemy", "tried to blank-out primary key column")
async def a_child_is_keyed_by_its_parent(cured):
    """A profile, whose key is its user's, is taken off the user."""

    class Base(DeclarativeBase):
        pass

    class User(Base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)
        profile: Mapped["Profile | None"] = relationship(
            cascade="all, delete-orphan" if cured else "save-update, merge"
        )

    class Profile(Base):
        __tablename__ = "profiles"
        user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)

    engine = create_async_engine("sqlite+aiosqlite://")
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(engine) as session:
            user = User(profile=Profile())
            session.add(user)
            await session.flush()
            user.profile = None
            await session.flush()
    finally:
        await engine.dispose()


@produces("sqlalchemy", "is not among the defined enum values")
async def a_column_holds_values_and_the_model_names(shop, cured):
    """Rows were written with the enum's values, and are read by a model that expects names."""
    kind = STORED_AS["values" if cured else "names"]
    async with shop.sessions() as sessions, sessions() as session:
        found = await session.scalar(select(sa.literal_column("'active'", kind)))

        assert found is Status.ACTIVE


@produces("sqlalchemy", "invalid input value for enum")
async def a_model_writes_names_into_a_type_of_values(shop, cured):
    """The type in the database was made of values, and the model sends names."""
    kind = STORED_AS["values" if cured else "names"]
    async with shop.sessions() as sessions, sessions() as session:
        await session.execute(sa.text("CREATE TYPE status AS ENUM ('active')"))

        assert await session.scalar(select(sa.literal(Status.ACTIVE, kind))) is Status.ACTIVE
