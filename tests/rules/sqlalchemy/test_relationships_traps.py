"""What the rule on relationships says of deleting parents and of mapping."""

import subprocess
import sys
from enum import StrEnum
from types import ModuleType

import psycopg
import pytest
from sqlalchemy import Enum, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.harness import confirms
from tests.observers.statements import statements
from tests.rules.sqlalchemy.test_relationships import (
    Line,
    Note,
    Order,
    database,
    order_of,
)

RULE = "sqlalchemy/relationships"


@confirms(RULE, "deleting-a-parent")
async def deleting_loads_the_children_and_takes_their_key(postgres):
    """A SELECT and an UPDATE that NOT NULL refuses; as declared, the database alone deletes."""

    async def delete(order):
        async with sessions() as session:
            row = await session.get(Order, order.id)
            with statements(engine) as sent:
                await session.delete(row)
                try:
                    await session.flush()
                except IntegrityError as error:
                    failed = error.orig.sqlstate
                else:
                    failed = None
            left = [] if failed else list(await session.scalars(select(Line.sku)))
        return failed, [words(statement) for statement in sent], left

    def words(statement):
        verb, *rest = statement.split()
        return verb, "notes" in rest, "lines" in rest

    noted, plain = order_of(notes=2), order_of("a", "b")
    async with database(postgres.asyncpg, noted, plain) as (engine, sessions):
        with_notes = await delete(noted)
        async with sessions.begin() as session:
            await session.execute(text("DELETE FROM notes"))
        with_lines = await delete(plain)

    select_notes, update_notes = ("SELECT", True, False), ("UPDATE", True, False)
    assert with_notes == ("23502", [select_notes, update_notes], [])  # not_null_violation
    assert with_lines == (None, [select_notes, ("DELETE", False, False)], [])
    assert Note.__table__.c.order_id.nullable is False


class Status(StrEnum):
    ACTIVE = "active"


@confirms(RULE, "enum-columns")
@pytest.mark.parametrize("by_value", [False, True])
async def an_enum_column_stores_names(postgres, by_value):
    """The type has ACTIVE, so a default of 'active' is refused; by value it is taken."""
    options = {"values_callable": lambda e: [m.value for m in e]} if by_value else {}

    class Local(DeclarativeBase):
        type_annotation_map = {Status: Enum(Status, **options)} if by_value else {}

    class Job(Local):
        __tablename__ = "jobs"
        id: Mapped[int] = mapped_column(primary_key=True)
        status: Mapped[Status]

    async with database(postgres.asyncpg, Job(status=Status.ACTIVE), base=Local):
        stored = postgres.execute("SELECT status::text FROM jobs")
    default = "ALTER TABLE jobs ALTER status SET DEFAULT 'active'"

    if by_value:
        assert stored == [("active",)]
        postgres.execute(default)
    else:
        assert stored == [("ACTIVE",)]
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            postgres.execute(default)


class Known(DeclarativeBase):
    """A release whose class has fewer members than the type will get."""


class Task(Known):
    __tablename__ = "tasks"
    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[Status] = mapped_column(
        Enum(Status, values_callable=lambda e: [m.value for m in e])
    )


@confirms(RULE, "enum-columns")
async def an_existing_type_is_renamed_value_by_value(postgres):
    """A column that holds names is read by value afterwards, and not before."""
    names = """
        CREATE TYPE status AS ENUM ('ACTIVE');
        CREATE TABLE tasks (id serial PRIMARY KEY, status status NOT NULL);
        INSERT INTO tasks (status) VALUES ('ACTIVE')
    """
    postgres.execute(names)
    async with database(postgres.asyncpg, base=Known) as (_, sessions):
        async with sessions() as session:
            with pytest.raises(LookupError):
                (await session.scalars(select(Task))).all()
        postgres.execute("ALTER TYPE status RENAME VALUE 'ACTIVE' TO 'active'")
        async with sessions() as session:
            found = [task.status for task in await session.scalars(select(Task))]

    assert found == [Status.ACTIVE]


@confirms(RULE, "enum-columns")
async def a_value_the_class_lacks_cannot_be_read(postgres):
    """One row that a newer release wrote fails the whole list."""
    async with database(postgres.asyncpg, Task(status=Status.ACTIVE), base=Known) as (_, sessions):
        postgres.execute("ALTER TYPE status ADD VALUE 'archived'")
        postgres.execute("INSERT INTO tasks (status) VALUES ('archived')")
        async with sessions() as session:
            with pytest.raises(LookupError, match="archived"):
                (await session.scalars(select(Task))).all()


MODELS = """from __future__ import annotations

import uuid

from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    deleted: Mapped[str | None]


active = select(User.id).where(User.deleted == None)
"""


@confirms(RULE, "fixes-by-ruff")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--select=E711"], "WHERE false"),
        (["--select=F"], "IS NULL"),
    ],
    ids=["E711", "untouched"],
)
def ruff_breaks_a_query(tmp_path, monkeypatch, options, expected):
    """A comparison with None becomes false in Python."""
    path = tmp_path / "models.py"
    path.write_text(MODELS)
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--quiet"]
    subprocess.run([*ruff, "--fix", "--unsafe-fixes", *options, str(path)], timeout=20)
    module = ModuleType("models")
    monkeypatch.setitem(sys.modules, "models", module)  # where SQLAlchemy looks annotations up
    code = compile(path.read_text(), str(path), "exec")

    exec(code, module.__dict__)  # noqa: S102

    assert str(module.active).endswith(expected)
