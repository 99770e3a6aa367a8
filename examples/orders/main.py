"""The API. Rules: fastapi/dependencies, sqlalchemy/sessions, asyncio/taskgroup."""

import asyncio
import logging
from datetime import datetime
from decimal import Decimal
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

import aiohttp
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter
from starlette.types import ASGIApp

from orders.database import Document, Orders
from orders.lifespan import Session, lifespan
from orders.middleware import KINDS, problem, wrapped
from orders.settings import Settings, get_settings

api = FastAPI(lifespan=lifespan, exception_handlers=dict.fromkeys(KINDS, problem))
price = TypeAdapter(Decimal)
Text = Annotated[str, Field(min_length=1, max_length=64)]


class LineBody(BaseModel, from_attributes=True):
    sku: Text
    quantity: int = Field(ge=1, le=1000)


class NewOrder(BaseModel):
    reference: Text
    lines: list[LineBody] = Field(min_length=1, max_length=100)


class OrderBody(NewOrder):
    id: UUID
    repeats: int
    placed: datetime
    edited: datetime


@api.post("/orders", status_code=201, response_model=OrderBody)
async def place_order(new: NewOrder, session: Session, request: Request) -> Document | Response:
    if order := await Orders(session).place(**new.model_dump()):
        return order
    # Returned, as raising it would undo the count.
    return await problem(request, HTTPException(409, "This reference is taken."))


@api.get("/orders", response_model=list[OrderBody])
async def list_orders(
    request: Request,
    response: Response,
    after: Annotated[tuple[AwareDatetime, UUID] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> list[Document]:
    """A page; its Link header leads to the next one."""
    async with request.state.reads() as session:
        found = await Orders(session).page(after, limit)
    if len(found) == limit:
        place = (found[-1]["placed"].isoformat(), found[-1]["id"])
        query = urlencode({"after": place, "limit": limit}, doseq=True)
        response.headers["Link"] = f'<?{query}>; rel="next"'
    return found


@api.get("/orders/{key}", response_model=OrderBody)
async def read_order(key: UUID, request: Request) -> Document:
    async with request.state.reads() as session:
        order = await Orders(session).get(key)
    if order is None:
        raise HTTPException(404, "No such order.")
    return order


@api.get("/orders/{key}/quotes")
async def ask_carriers(
    key: UUID, request: Request, settings: Annotated[Settings, Depends(get_settings)]
) -> dict[str, Decimal | None]:
    """The price of each carrier; null for one that failed or is late."""
    order = await read_order(key, request)  # its session is closed before the slow calls
    items = sum(line.quantity for line in order["lines"])
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


@api.get("/livez")
async def live() -> None: ...


@api.get("/readyz")
async def ready(request: Request, response: Response) -> dict[str, bool]:
    up = await request.state.readiness.check()
    response.status_code = 200 if up else 503
    return {"ready": up}


def create_app() -> ASGIApp:
    return wrapped(api)
