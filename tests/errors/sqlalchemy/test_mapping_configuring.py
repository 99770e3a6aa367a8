"""Texts of models that do not fit together: written when they are declared or first used."""

import runpy
from collections.abc import Iterator
from contextlib import suppress

import pytest
from sqlalchemy import ForeignKey, create_engine
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from tests.harness.errors import produces


@pytest.fixture
def base() -> Iterator[type[DeclarativeBase]]:
    """A declarative base of a test's own; mappers that failed do not outlive the test."""

    class Base(DeclarativeBase):
        pass

    yield Base
    Base.registry.dispose()


@produces("sqlalchemy", "failed to locate a name")
def a_module_of_models_is_not_imported(base, cured):
    """A relationship names a class that nobody has imported when the first object is made."""

    class User(base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)
        orders: Mapped[list["Order"]] = relationship()

    if cured:

        class Order(base):
            __tablename__ = "orders"
            id: Mapped[int] = mapped_column(primary_key=True)
            user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))

    User()


@produces("sqlalchemy", "One or more mappers failed to initialize")
def a_failed_mapper_stops_another_model(base, cured):
    """After the first failure, a model that has no part in it cannot be used either."""

    class User(base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)
        orders: Mapped[list["Order"]] = relationship()

    class Note(base):
        __tablename__ = "notes"
        id: Mapped[int] = mapped_column(primary_key=True)

    if cured:

        class Order(base):
            __tablename__ = "orders"
            id: Mapped[int] = mapped_column(primary_key=True)
            user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))

    with suppress(InvalidRequestError):
        base.registry.configure()
    Note()


@produces("sqlalchemy", "there are no foreign keys linking these tables")
def a_relationship_has_no_foreign_key(base, cured):
    """The column that should hold the parent's key is a plain integer."""

    class User(base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)
        orders: Mapped[list["Order"]] = relationship()

    class Order(base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)
        if cured:
            user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
        else:
            user_id: Mapped[int] = mapped_column()

    User()


@produces("sqlalchemy", "there are multiple foreign key paths linking the tables")
def two_foreign_keys_lead_to_one_table(base, cured):
    """An order has a buyer and a seller, and its relationships do not say which is which."""

    class User(base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Order(base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)
        buyer_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
        seller_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
        buyer: Mapped[User] = relationship(foreign_keys=[buyer_id] if cured else None)
        seller: Mapped[User] = relationship(foreign_keys=[seller_id] if cured else None)

    Order()


@produces("sqlalchemy", "with which to generate a foreign key to target column")
def a_foreign_key_leads_nowhere(base, cured):
    """Tables are created while the module of the table referred to is not imported."""

    class Order(base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)
        user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))

    if cured:

        class User(base):
            __tablename__ = "users"
            id: Mapped[int] = mapped_column(primary_key=True)

    engine = create_engine("sqlite://")
    try:
        base.metadata.create_all(engine)
    finally:
        engine.dispose()


@produces("sqlalchemy", "If this property was indicated from other mappers or configure events")
def the_other_side_has_another_name(base, cured):
    """`back_populates` names an attribute that the other class does not have."""

    class User(base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)
        orders: Mapped[list["Order"]] = relationship(back_populates="user")

    class Order(base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)
        user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
        user: Mapped[User] = relationship(back_populates="orders" if cured else "order")

    Order()


@produces("sqlalchemy", "are both of the same direction")
def a_tree_does_not_say_which_side_is_one(base, cured):
    """Both relationships of a table with itself are read as one-to-many."""

    class Node(base):
        __tablename__ = "nodes"
        id: Mapped[int] = mapped_column(primary_key=True)
        parent_id: Mapped[int | None] = mapped_column(ForeignKey("nodes.id"))
        parent: Mapped["Node | None"] = relationship(
            back_populates="children", remote_side="Node.id" if cured else None
        )
        children: Mapped[list["Node"]] = relationship(back_populates="parent")

    Node()


@produces("sqlalchemy", "which conflicts with relationship(s)")
def two_relationships_write_one_column(base, cured):
    """Both sides are declared, and neither knows of the other."""

    class User(base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)
        orders: Mapped[list["Order"]] = relationship(back_populates="user" if cured else None)

    class Order(base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)
        user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
        user: Mapped[User] = relationship(back_populates="orders" if cured else None)

    Order()


@produces("sqlalchemy", 'delete-orphan cascade is normally configured only on the "one" side')
def orphans_are_deleted_from_the_wrong_side(base, cured):
    """The cascade stands on the child's reference to its parent."""
    cascade = "all, delete-orphan"

    class User(base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)
        orders: Mapped[list["Order"]] = relationship(
            back_populates="user", cascade=cascade if cured else "save-update, merge"
        )

    class Order(base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)
        user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
        user: Mapped[User] = relationship(
            back_populates="orders", cascade="save-update, merge" if cured else cascade
        )

    Order()


@produces("sqlalchemy", "Multiple classes found for path")
def two_models_have_one_name(base, cured):
    """A relationship names a class by a word that two modules use."""

    def current():
        class Order(base):
            __module__ = "app.orders"
            __tablename__ = "orders"
            id: Mapped[int] = mapped_column(primary_key=True)
            user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))

        return Order

    def archived():
        class Order(base):
            __module__ = "app.archive"
            __tablename__ = "old_orders"
            id: Mapped[int] = mapped_column(primary_key=True)

        return Order

    class User(base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)
        orders = relationship("app.orders.Order" if cured else "Order")

    kept = current(), archived()
    User()
    assert kept


HIDDEN = """
from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

if {condition}:
    from datetime import datetime


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    born: Mapped[datetime]
"""


@produces("sqlalchemy", "Could not resolve all types within mapped annotation")
def a_column_type_is_imported_for_type_checkers_only(tmp_path, cured):
    """The module has the import that its annotation needs, but not when it runs."""
    models = tmp_path / "models.py"
    models.write_text(HIDDEN.format(condition="True" if cured else "TYPE_CHECKING"))
    runpy.run_path(str(models), run_name="models")
