"""What the rule on relationships says of paging, writing and mapping."""

import subprocess
import sys
from enum import StrEnum
from types import ModuleType

import psycopg
import pytest
from sqlalchemy import Enum, select, text
from sqlalchemy.exc import IntegrityError, InvalidRequestError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.orm.exc import MappedAnnotationError

from tests.harness import confirms, correct
from tests.observers.statements import statements
from tests.rules.sqlalchemy.test_relationships import (
    Line,
    Note,
    Order,
    database,
    order_of,
    walk,
)

RULE = "sqlalchemy/relationships"


@confirms(RULE, "offset")
@pytest.mark.parametrize("change", ["delete", "insert"])
async def a_change_on_page_one_shifts_page_two(postgres, change):
    """By OFFSET row 21 is never seen, or row 20 twice; by key neither."""
    by_key = correct(RULE, "page-by-a-unique-key").page
    rows = [Order(placed=n) for n in range(1, 31)]
    async with database(postgres.asyncpg, *rows) as (_, sessions):
        query = select(Order.placed).order_by(Order.placed, Order.id).limit(20)
        async with sessions() as session:
            first = (await session.scalars(query)).all()
        async with sessions.begin() as session:
            if change == "delete":
                await session.execute(text("DELETE FROM orders WHERE placed = 1"))
            else:
                session.add(Order(placed=0))
        async with sessions() as session:
            offset = (await session.scalars(query.offset(20))).all()
            keyed = by_key(select(Order.placed), Order.placed, Order.id, (20, rows[19].id))
            after = (await session.scalars(keyed)).all()

    assert first == list(range(1, 21))
    assert offset[0] == {"delete": 22, "insert": 20}[change]
    assert after == list(range(21, 31))


@confirms(RULE, "offset")
async def rows_without_a_value_are_on_no_later_page(postgres):
    """Of thirty orders the five without a time are never seen, though ORDER BY puts them last."""
    half = correct(RULE, "page-by-a-unique-key")
    rows = [Order(placed=n) for n in range(25)] + [Order(placed=None) for _ in range(5)]
    async with database(postgres.asyncpg, *rows) as (_, sessions), sessions() as session:
        in_one = await session.scalars(select(Order.placed).order_by(Order.placed, Order.id))
        assert list(in_one) == [*range(25), *[None] * 5]
        pages = [page async for page in walk(session, half, select(Order))]

    assert [order.placed for page in pages for order in page] == list(range(25))


@confirms(RULE, "collections-of-new-rows")
async def a_collection_nobody_set_cannot_be_used_after_the_flush(postgres):
    """Reading and appending raise; an empty list at construction, or the other side, work."""
    async with database(postgres.asyncpg) as (_, sessions), sessions() as session:
        unset, constructed = Order(), Order(lines=[])
        session.add_all([unset, constructed])
        await session.flush()
        with pytest.raises(InvalidRequestError):
            _ = unset.lines
        with pytest.raises(InvalidRequestError):
            unset.lines.append(Line(sku="a"))
        session.add(Line(sku="a", order=unset))
        assert constructed.lines == []
        constructed.lines.append(Line(sku="b"))
        await session.flush()

        found = await session.scalars(select(Line.order_id).order_by(Line.sku))
        assert list(found) == [unset.id, constructed.id]


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
BASES = "runtime-evaluated-base-classes=['sqlalchemy.orm.DeclarativeBase', 'models.Base']"


@confirms(RULE, "fixes-by-ruff")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--select=TC003"], None),
        (["--select=TC003", "--config", f"lint.flake8-type-checking.{BASES}"], "IS NULL"),
        (["--select=E711"], "WHERE false"),
        (["--select=F"], "IS NULL"),
    ],
    ids=["TC003", "configured", "E711", "untouched"],
)
def ruff_breaks_models_and_queries(tmp_path, monkeypatch, options, expected):
    """The type of a column becomes unknown, a comparison with None false in Python."""
    path = tmp_path / "models.py"
    path.write_text(MODELS)
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--quiet"]
    subprocess.run([*ruff, "--fix", "--unsafe-fixes", *options, str(path)], timeout=20)
    module = ModuleType("models")
    monkeypatch.setitem(sys.modules, "models", module)  # where SQLAlchemy looks annotations up
    code = compile(path.read_text(), str(path), "exec")

    if expected is None:
        with pytest.raises(MappedAnnotationError):
            exec(code, module.__dict__)  # noqa: S102
    else:
        exec(code, module.__dict__)  # noqa: S102
        assert str(module.active).endswith(expected)
