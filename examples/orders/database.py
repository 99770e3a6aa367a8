"""Tables, repository, engine. `python -m orders.database` creates the tables.

Rules: sqlalchemy/sessions, sqlalchemy/relationships, pooling/database.
"""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, ClassVar
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT compiles for SQLite too
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from orders.settings import Settings, load_settings

LIMITS = {"statement_timeout": "10000", "idle_in_transaction_session_timeout": "15000"}


class Moment(sa.TypeDecorator[datetime]):
    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        # SQLite forgets the time zone; all that is written here is UTC.
        return value.replace(tzinfo=UTC) if value and not value.tzinfo else value


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[Any] = {datetime: Moment}


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = (sa.Index("orders_by_age", "placed", "id"),)
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    reference: Mapped[str] = mapped_column(unique=True)
    repeats: Mapped[int] = mapped_column(default=0)
    # Not now(): SQLite's has no fraction, so that as text it sorts before the same cursor.
    placed: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
    edited: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    lines: Mapped[list["Line"]] = relationship(lazy="raise_on_sql", order_by="Line.id")


class Line(Base):
    __tablename__ = "lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[UUID] = mapped_column(sa.ForeignKey("orders.id"), index=True)
    sku: Mapped[str]
    quantity: Mapped[int]


# Statements are built once: built for each request, they would cost a quarter more.
FIELDS = (Order.id, Order.reference, Order.repeats, Order.placed, Order.edited)
REPEATED = {"repeats": Order.repeats + 1, "edited": sa.func.now()}
UPSERT = insert(Order).on_conflict_do_update(index_elements=["reference"], set_=REPEATED)
PLACE = UPSERT.returning(*FIELDS)

# Every order has lines, so a join finds it. Shown as columns it costs less than half of an object.
AGE = (Order.placed, Order.id)
ROWS = sa.select(*FIELDS, Line.sku, Line.quantity).join(Order.lines).order_by(*AGE, Line.id)
ONE = ROWS.where(Order.id == sa.bindparam("key"))
KEYS = sa.select(Order.id).order_by(*AGE).limit(sa.bindparam("limit"))
AFTER = sa.tuple_(sa.bindparam("placed", type_=Moment), sa.bindparam("key", type_=sa.Uuid))
FIRST_PAGE = ROWS.where(Order.id.in_(KEYS))
NEXT_PAGE = ROWS.where(Order.id.in_(KEYS.where(sa.tuple_(*AGE) > AFTER)))

Document = dict[str, Any]  # an order as the response model reads it


def documents(rows: Iterable[sa.Row[Any]]) -> list[Document]:
    """Put the rows of an order, one for each line and together, into one document."""
    groups = [list(group) for _, group in groupby(rows, attrgetter("id"))]
    return [{**lines[0]._mapping, "lines": lines} for lines in groups]


class Orders:
    """Never commits: the unit of work is the caller's."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def place(self, reference: str, lines: list[Document]) -> Document | None:
        """Store an order; None, and its repeat counted, when its reference is taken."""
        order = (await self.session.execute(PLACE, {"reference": reference})).one()
        if order.repeats:
            return None
        self.session.add_all(Line(order_id=order.id, **line) for line in lines)
        return {**order._mapping, "lines": lines}

    async def get(self, key: UUID) -> Document | None:
        found = documents(await self.session.execute(ONE, {"key": key}))
        return found[0] if found else None

    async def page(self, after: tuple[datetime, UUID] | None, limit: int) -> list[Document]:
        values: Document = {"limit": limit}
        if after:
            values |= {"placed": after[0], "key": after[1]}
        return documents(await self.session.execute(NEXT_PAGE if after else FIRST_PAGE, values))


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
        connect_args={} if sqlite else limits,
    )
    if not sqlite:
        sa.event.listen(engine.sync_engine, "checkout", refuse_closed)
    return engine


def for_one_select(engine: AsyncEngine) -> AsyncEngine:
    """The same pool, without BEGIN and ROLLBACK around what is one SELECT."""
    if engine.dialect.name == "sqlite":
        return engine  # its driver awaits the setting, and a cancel there loses the connection
    return engine.execution_options(isolation_level="AUTOCOMMIT")


async def create_tables() -> None:
    engine = build_engine(load_settings(), 1)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(create_tables())
