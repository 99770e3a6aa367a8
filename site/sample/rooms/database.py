"""Tables, engine, and the session of a request."""

import os
from collections.abc import AsyncGenerator
from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, UniqueConstraint
from sqlalchemy.ext.asyncio import AsyncAttrs, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

URL = os.environ.get("DATABASE_URL", "sqlite+aiosqlite:///rooms.db")

engine = create_async_engine(URL, pool_size=10)
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(AsyncAttrs, DeclarativeBase):
    pass


class Room(Base):
    __tablename__ = "rooms"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    bookings: Mapped[list["Booking"]] = relationship()


class Booking(Base):
    __tablename__ = "bookings"
    __table_args__ = (UniqueConstraint("room_id", "begins"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    room_id: Mapped[int] = mapped_column(ForeignKey("rooms.id"))
    begins: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    guest: Mapped[str]


async def get_session() -> AsyncGenerator[AsyncSession, None]:
    async with sessions.begin() as session:
        yield session
