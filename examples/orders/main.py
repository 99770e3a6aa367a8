"""The API. Rules: fastapi/dependencies, sqlalchemy/sessions, asyncio/taskgroup."""

import asyncio
import logging
from datetime import datetime
from decimal import Decimal
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

import aiohttp
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter
from starlette.types import ASGIApp

from orders.database import Line, Order, Orders
from orders.lifespan import Session, lifespan
from orders.middleware import KINDS, problem, wrapped
from orders.settings import Settings, get_settings

router = APIRouter()
price = TypeAdapter(Decimal)
Text = Annotated[str, Field(min_length=1, max_length=64)]


class LineBody(BaseModel, from_attributes=True):
    sku: Text
    quantity: int = Field(ge=1, le=1000)


class NewOrder(BaseModel, from_attributes=True):
    reference: Text
    lines: list[LineBody] = Field(min_length=1, max_length=100)


class OrderBody(NewOrder):
    id: UUID
    repeats: int
    placed: datetime
    edited: datetime


@router.post("/orders", status_code=201, response_model=OrderBody)
async def place_order(new: NewOrder, session: Session, request: Request) -> OrderBody | Response:
    order = Order(reference=new.reference, lines=[Line(**dict(line)) for line in new.lines])
    if not await Orders(session).add(order):
        await Orders(session).count_repeat(new.reference)
        # Returned, as raising it would undo the count.
        return await problem(request, HTTPException(409, "This reference is taken."))
    return OrderBody.model_validate(order)


@router.get("/orders")
async def list_orders(
    session: Session,
    response: Response,
    after: Annotated[tuple[AwareDatetime, UUID] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> list[OrderBody]:
    """A page; its Link header leads to the next one."""
    found = await Orders(session).page(after, limit)
    if len(found) == limit:
        place = (found[-1].placed.isoformat(), found[-1].id)
        query = urlencode({"after": place, "limit": limit}, doseq=True)
        response.headers["Link"] = f'<?{query}>; rel="next"'
    return [OrderBody.model_validate(order) for order in found]


async def find(session: Session, key: UUID) -> Order:
    if order := await Orders(session).get(key):
        return order
    raise HTTPException(404, "No such order.")


@router.get("/orders/{key}")
async def read_order(key: UUID, session: Session) -> OrderBody:
    return OrderBody.model_validate(await find(session, key))


@router.get("/orders/{key}/quotes")
async def ask_carriers(
    key: UUID, request: Request, settings: Annotated[Settings, Depends(get_settings)]
) -> dict[str, Decimal | None]:
    """The price of each carrier; null for one that failed or is late."""
    async with request.state.sessions() as session:  # closed before the slow calls
        order = await find(session, key)
    items = sum(line.quantity for line in order.lines)
    prices: dict[str, Decimal | None] = dict.fromkeys(settings.carriers)
    deadline = asyncio.get_running_loop().time() + settings.quote_seconds
    http: aiohttp.ClientSession = request.state.http

    async def ask(name: str, url: str) -> None:
        try:
            async with asyncio.timeout_at(deadline), http.get(url, params={"items": items}) as got:
                got.raise_for_status()
                prices[name] = price.validate_json(await got.read())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:  # ValueError: no number
            logging.getLogger(__name__).warning("no quote from %s: %r", name, error)

    async with asyncio.TaskGroup() as group:
        for name, url in settings.carriers.items():
            group.create_task(ask(name, str(url)))
    return prices


@router.get("/livez")
async def live() -> None: ...


@router.get("/readyz")
async def ready(request: Request, response: Response) -> dict[str, bool]:
    up = await request.state.readiness.check()
    response.status_code = 200 if up else 503
    return {"ready": up}


def create_api() -> FastAPI:
    api = FastAPI(lifespan=lifespan, exception_handlers=dict.fromkeys(KINDS, problem))
    api.include_router(router)
    return api


def create_app() -> ASGIApp:
    return wrapped(create_api())
