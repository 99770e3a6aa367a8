"""Tables, repository, engine. `python -m orders.database` creates the tables.

Rules: sqlalchemy/sessions, sqlalchemy/relationships, pooling/database.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, ClassVar
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

from orders.settings import Settings, load_settings

DUPLICATE = {"23505", "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}
LIMITS = {"statement_timeout": "10000", "idle_in_transaction_session_timeout": "15000"}


class Moment(sa.TypeDecorator[datetime]):
    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        # SQLite forgets the time zone; all that is written here is UTC.
        return value.replace(tzinfo=UTC) if value and not value.tzinfo else value


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[Any] = {datetime: Moment}
    __mapper_args__ = MappingProxyType({"eager_defaults": True})


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    reference: Mapped[str] = mapped_column(unique=True)
    repeats: Mapped[int] = mapped_column(default=0)
    # Not now(): SQLite's has no fraction, so that as text it sorts before the same cursor.
    placed: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
    edited: Mapped[datetime] = mapped_column(server_default=sa.func.now(), onupdate=sa.func.now())
    lines: Mapped[list["Line"]] = relationship(lazy="raise_on_sql", order_by="Line.id")


class Line(Base):
    __tablename__ = "lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[UUID] = mapped_column(sa.ForeignKey("orders.id"), index=True)
    sku: Mapped[str]
    quantity: Mapped[int]


class Orders:
    """Never commits: the unit of work is the caller's."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def add(self, order: Order) -> bool:
        """Store an order; False, and nothing else undone, when its reference is taken."""
        await self.session.flush()  # what fails of it is not this order's fault
        try:
            async with self.session.begin_nested():
                self.session.add(order)
        except IntegrityError as error:
            codes = (getattr(error.orig, name, None) for name in ("sqlstate", "sqlite_errorname"))
            if DUPLICATE.isdisjoint(codes):
                raise
            return False
        return True

    async def count_repeat(self, reference: str) -> None:
        query = sa.update(Order).where(Order.reference == reference)
        await self.session.execute(query.values(repeats=Order.repeats + 1))

    async def get(self, key: UUID) -> Order | None:
        query = sa.select(Order).where(Order.id == key).options(selectinload(Order.lines))
        return (await self.session.scalars(query)).one_or_none()

    async def page(self, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[Order]:
        query = sa.select(Order).order_by(Order.placed, Order.id).limit(limit)
        if after:
            query = query.where(sa.tuple_(Order.placed, Order.id) > after)
        return (await self.session.scalars(query.options(selectinload(Order.lines)))).all()


def refuse_closed(connection: Any, *_: object) -> None:
    if connection.driver_connection.is_closed():
        raise sa.exc.DisconnectionError  # the pool connects anew


def build_engine(settings: Settings, pool_size: int) -> AsyncEngine:
    url = sa.make_url(settings.database_url.get_secret_value())
    sqlite = url.get_backend_name() == "sqlite"
    limits = {"timeout": 5, "command_timeout": 15, "server_settings": LIMITS}
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=settings.pool_timeout,
        pool_recycle=300,
        connect_args={"isolation_level": None} if sqlite else limits,
    )
    if sqlite:  # its driver would begin nothing for a savepoint, whose release then commits
        sa.event.listen(engine.sync_engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN"))
    else:
        sa.event.listen(engine.sync_engine, "checkout", refuse_closed)
    return engine


async def create_tables() -> None:
    engine = build_engine(load_settings(), 1)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(create_tables())
