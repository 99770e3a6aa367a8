"""Ways to read and to place an order, each named for the one thing it differs in.

What has a correct half in the rules is that half. Unless its name says otherwise a variant reads
under AUTOCOMMIT by a statement built once, behind FastAPI with no middleware.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import sqlalchemy as sa
from fastapi import FastAPI, Request
from orders.database import Line, Order, Orders
from orders.main import NewOrder, OrderBody
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import joinedload, selectinload
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks import bare
from tests.harness import correct

SIZE = int(os.environ["ORDERS_POOL_SIZE"])
ENGINES: list[AsyncEngine] = []
STATIC = {"reference": "r", "repeats": 0, "lines": [{"sku": "nut", "quantity": 1}] * 3}

refuse_closed = correct("pooling/database", "one-engine-in-the-lifespan").refuse_closed
Repository = correct("sqlalchemy/sessions", "catch-a-conflict-around-a-savepoint").Repository


def engine(**options: Any) -> AsyncEngine:
    url = os.environ["ORDERS_DATABASE_URL"]
    made = create_async_engine(url, pool_size=SIZE, max_overflow=0, **options)
    ENGINES.append(made)
    return made


transaction = engine()
autocommit = transaction.execution_options(isolation_level="AUTOCOMMIT")
ping = engine(pool_pre_ping=True)
closed = engine()
sa.event.listen(closed.sync_engine, "checkout", refuse_closed)

writes = async_sessionmaker(transaction, expire_on_commit=False)
reads = async_sessionmaker(autocommit)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    url = os.environ["POSTGRES_URL"]
    async with AsyncExitStack() as stack:
        for each in ENGINES:
            stack.push_async_callback(each.dispose)
        pool = asyncpg.create_pool(url, min_size=SIZE, max_size=SIZE)
        yield {"pool": await stack.enter_async_context(pool)}


Endpoint = Callable[..., Awaitable[Any]]


def body(order: Order) -> OrderBody:
    return OrderBody.model_validate(order, from_attributes=True)


def one_entity(engine: AsyncEngine, load: Any, *, once: bool = True) -> Endpoint:
    """Read an order as an object with its lines."""
    sessions = async_sessionmaker(engine)

    def build(key: Any) -> Any:
        return sa.select(Order).where(Order.id == key).options(load(Order.lines))

    built = build(sa.bindparam("key"))

    async def read(key: UUID) -> OrderBody:
        async with sessions() as session:
            found = await session.scalars(built if once else build(key), {"key": key})
            if load is joinedload:
                found = found.unique()
            return body(found.one())

    return read


async def one_by_columns(key: UUID) -> Any:
    async with reads() as session:
        return await Orders(session).get(key)


async def one_by_asyncpg(key: UUID, request: Request) -> Any:
    async with request.state.pool.acquire() as connection:
        order = await connection.fetchrow(bare.ORDER, key)
        lines = await connection.fetch(bare.LINES, key)
    return {**order, "lines": [dict(line) for line in lines]}


async def no_database(key: UUID) -> Any:
    now = datetime.now(UTC)
    return STATIC | {"id": key, "placed": now, "edited": now}


class Passed:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class Base(BaseHTTPMiddleware):  # python-backend: ignore[basehttpmiddleware-anywhere] measured
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        return await call_next(request)


def page_of_entities(load: Any) -> Endpoint:
    query = sa.select(Order).order_by(Order.placed, Order.id).limit(sa.bindparam("limit"))
    query = query.options(load(Order.lines))

    async def read() -> list[OrderBody]:
        async with reads() as session:
            found = await session.scalars(query, {"limit": 20})
            if load is joinedload:
                found = found.unique()
            return [body(order) for order in found]

    return read


async def page_by_columns() -> Any:
    async with reads() as session:
        return await Orders(session).page(None, 20)


async def page_line_by_line() -> list[OrderBody]:
    async with reads() as session:
        query = sa.select(Order).order_by(Order.placed, Order.id).limit(20)
        orders = (await session.scalars(query)).all()
        for order in orders:
            await session.refresh(order, ["lines"])
        return [body(order) for order in orders]


INSERT, INSERT_LINES = sa.insert(Order.__table__).returning(Order.__table__), sa.insert(Line)


async def place_by_core(new: NewOrder) -> Any:
    now = datetime.now(UTC)
    values = {"id": uuid4(), "reference": new.reference, "repeats": 0, "placed": now}
    async with transaction.begin() as connection:
        order = (await connection.execute(INSERT, values)).one()
        lines = [{"order_id": order.id, **dict(line)} for line in new.lines]
        await connection.execute(INSERT_LINES, lines)
    return {**order._mapping, "lines": new.lines}


def order_of(new: NewOrder) -> Order:
    return Order(reference=new.reference, lines=[Line(**dict(line)) for line in new.lines])


async def place_by_flush(new: NewOrder) -> OrderBody:
    order = order_of(new)
    async with writes.begin() as session:
        session.add(order)
    return body(order)


async def place_in_savepoint(new: NewOrder) -> OrderBody:
    order = order_of(new)
    async with writes.begin() as session:
        await Repository(session, Order).add(order)
    return body(order)


async def place_and_refresh(new: NewOrder) -> OrderBody:
    order = order_of(new)
    async with async_sessionmaker(transaction)() as session:
        session.add(order)
        await session.commit()
        await session.refresh(order)
        await session.refresh(order, ["lines"])
        return body(order)


@dataclass(frozen=True)
class Variant:
    """One way to do what a case asks for; it differs in one thing from `against`."""

    case: str
    name: str
    endpoint: Endpoint
    against: str = ""
    middleware: type[Any] | None = None

    def application(self) -> FastAPI:
        """An API with this one route."""
        api = FastAPI(openapi_url=None)
        for _ in range(5 if self.middleware else 0):
            api.add_middleware(self.middleware)  # type: ignore[arg-type]
        path = "/orders/{key}" if self.case == "one" else "/orders"
        model: Any = list[OrderBody] if self.case == "page" else OrderBody
        method, status = ("POST", 201) if self.case == "post" else ("GET", 200)
        route = {"methods": [method], "status_code": status, "response_model": model}
        api.add_api_route(path, self.endpoint, **route)
        return api


def one(name: str, endpoint: Endpoint, against: str = "", middleware: Any = None) -> Variant:
    return Variant("one", name, endpoint, against, middleware)


JOINED = one_entity(autocommit, joinedload)
VARIANTS = [
    one("no database", no_database),
    one("no database, five ASGI middlewares", no_database, "no database", Passed),
    one("no database, five BaseHTTPMiddleware", no_database, "no database", Base),
    one("asyncpg", one_by_asyncpg, "bare"),
    one("columns", one_by_columns),
    one("joinedload", JOINED, "columns"),
    one("built each time", one_entity(autocommit, joinedload, once=False), "joinedload"),
    one("selectinload", one_entity(autocommit, selectinload), "joinedload"),
    one("transaction", one_entity(transaction, joinedload), "joinedload"),
    one("transaction, is_closed", one_entity(closed, joinedload), "transaction"),
    one("transaction, ping", one_entity(ping, joinedload), "transaction"),
    Variant("page", "columns", page_by_columns),
    Variant("page", "joinedload", page_of_entities(joinedload), "columns"),
    Variant("page", "selectinload", page_of_entities(selectinload), "joinedload"),
    Variant("page", "a refresh for each order", page_line_by_line, "selectinload"),
    Variant("post", "Core", place_by_core),
    Variant("post", "flush", place_by_flush, "Core"),
    Variant("post", "flush in a savepoint", place_in_savepoint, "flush"),
    Variant("post", "refresh after commit", place_and_refresh, "flush"),
]
main = FastAPI(lifespan=lifespan)


@main.get("/variants")
async def list_variants() -> list[tuple[str, str, str]]:
    return [(each.case, each.name, each.against) for each in VARIANTS]
