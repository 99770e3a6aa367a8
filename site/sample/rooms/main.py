"""The API."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from pydantic import AwareDatetime, BaseModel
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from rooms import payments
from rooms.database import Base, Booking, Room, engine, get_session, sessions

Session = Annotated[AsyncSession, Depends(get_session)]


class NewBooking(BaseModel):
    room_id: int
    begins: AwareDatetime
    guest: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with sessions.begin() as session:
        if not await session.scalar(select(Room.id).limit(1)):
            session.add_all(Room(name=name) for name in ("Ada", "Grace", "Joan", "Mary"))
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/rooms")
async def list_rooms(session: Session) -> list[dict[str, Any]]:
    listed = []
    for room in await session.scalars(select(Room).order_by(Room.id)):
        bookings = await room.awaitable_attrs.bookings
        listed.append({"name": room.name, "bookings": len(bookings)})
    return listed


@app.post("/bookings", status_code=201)
async def book(new: NewBooking, session: Session) -> dict[str, int]:
    booking = Booking(**new.model_dump())
    session.add(booking)
    try:
        await session.flush()
    except IntegrityError:
        raise HTTPException(409, "This room is taken.") from None
    await payments.charge(booking.id, cents=2500)
    asyncio.create_task(payments.send_receipt(booking.id))
    return {"id": booking.id}
