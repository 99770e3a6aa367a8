"""Texts of models, written while they are defined or made."""

import sys
from datetime import datetime
from importlib import import_module
from typing import Any

from sqlalchemy import ARRAY, JSON, Column, Date, String, Table
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.errors.sqlalchemy.shop import Item
from tests.harness.errors import produces

BASE = """
from sqlalchemy.orm import DeclarativeBase

class Base(DeclarativeBase):
    pass
"""
MODEL = """
from shop_of_two_names.base import Base
from sqlalchemy.orm import Mapped, mapped_column

class Tag(Base):
    __tablename__ = "tags"
    id: Mapped[int] = mapped_column(primary_key=True)
"""


@produces("sqlalchemy", "is already defined for this MetaData instance")
def a_module_is_imported_under_two_names(tmp_path, monkeypatch, cured):
    """The folder of a package is on the path too: its module runs once more, under another name."""
    package = tmp_path / "shop_of_two_names"
    package.mkdir()
    (package / "base.py").write_text(BASE)
    (package / "tags.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(package)
    before = set(sys.modules)
    try:
        import_module("shop_of_two_names.tags")
        import_module("shop_of_two_names.tags" if cured else "tags")
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]


@produces("sqlalchemy", "is an invalid keyword argument for")
def a_row_is_made_with_a_name_it_lacks(cured):
    """The request's body has a field that the model does not have."""
    body = {"name": "apple", "title": "Apple"}
    names = Item.__mapper__.columns.keys() if cured else body
    Item(**{name: value for name, value in body.items() if name in names})


@produces("sqlalchemy", "can't be correctly interpreted for Annotated Declarative Table form")
def an_annotation_is_not_mapped(cured):
    """A column's annotation is written without Mapped."""

    class Base(DeclarativeBase):
        pass

    class Tag(Base):
        __tablename__ = "tags"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] if cured else str = mapped_column()


@produces("sqlalchemy", "Could not locate SQLAlchemy Core type")
def an_annotation_has_no_column_type(cured):
    """A list is mapped, and nobody said by which column type."""

    class Base(DeclarativeBase):
        type_annotation_map = {list[str]: ARRAY(String)} if cured else {}

    class Tag(Base):
        __tablename__ = "tags"
        id: Mapped[int] = mapped_column(primary_key=True)
        words: Mapped[list[str]]


@produces("sqlalchemy", "could not assemble any primary key columns for mapped table")
def a_model_has_no_primary_key(cured):
    """A view is mapped, which has no key."""

    class Base(DeclarativeBase):
        pass

    class Report(Base):
        __table__ = Table("report", Base.metadata, Column("day", Date))
        __mapper_args__ = {"primary_key": [__table__.c.day]} if cured else {}


@produces("sqlalchemy", "and does not inherit from an existing table-mapped class")
def a_model_has_no_table(cured):
    """A class that only holds columns for others inherits from the base."""

    class Base(DeclarativeBase):
        pass

    class Stamped(Base):
        __abstract__ = cured
        created: Mapped[datetime]


@produces("sqlalchemy", "Attribute name 'metadata'")
def a_column_is_called_metadata(cured):
    """A column has the name of an attribute that the base needs."""

    class Base(DeclarativeBase):
        pass

    class Event(Base):
        __tablename__ = "events"
        id: Mapped[int] = mapped_column(primary_key=True)
        if cured:
            extra: Mapped[dict[str, Any]] = mapped_column("metadata", JSON)
        else:
            metadata: Mapped[dict[str, Any]] = mapped_column(JSON)
