"""A small shop on PostgreSQL, for the texts that sessions write: models, stored rows, sessions."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import ForeignKey, String
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from tests.servers.postgres import Database

APPLE = 1  # the key of the item that is stored
STORED = f"""
    DELETE FROM lines; DELETE FROM orders; DELETE FROM items;
    INSERT INTO items VALUES ({APPLE}, 'apple', 5);
    INSERT INTO orders VALUES (1); INSERT INTO lines VALUES (1, 1);
    SELECT setval('items_id_seq', 10), setval('orders_id_seq', 10), setval('lines_id_seq', 10)
"""


class Base(DeclarativeBase):
    """What the application under test would have."""


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    n: Mapped[int] = mapped_column(default=0)


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    lines: Mapped[list["Line"]] = relationship(back_populates="order")


class Line(Base):
    __tablename__ = "lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))
    order: Mapped[Order] = relationship(back_populates="lines")


@dataclass(frozen=True)
class Shop:
    """Its database holds one item, and one order with a line."""

    database: Database

    @asynccontextmanager
    async def engine(self, **options: Any) -> AsyncGenerator[AsyncEngine, None]:
        engine = create_async_engine(self.database.asyncpg, **options)
        try:
            yield engine
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def sessions(
        self, **options: Any
    ) -> AsyncGenerator[async_sessionmaker[AsyncSession], None]:
        async with self.engine() as engine:
            yield async_sessionmaker(engine, **{"expire_on_commit": False, **options})

    @asynccontextmanager
    async def asyncpg(self) -> AsyncGenerator[asyncpg.Connection, None]:
        """The driver's connection, without SQLAlchemy."""
        connection = await asyncpg.connect(self.database.url)
        try:
            yield connection
        finally:
            await connection.close()
