"""Applications around a half of a pair, and which probes have to see the incorrect one fail."""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import aiohttp
from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.harness.probing import Limits
from tests.probes.shop import LIST, ORDER, WRITE, Store, shop, skus
from tests.servers.http import CountingServer


@dataclass(frozen=True)
class Case:
    """An application around a half of a pair, what is sent to it, and who has to see it fail."""

    page: str
    pair: str
    probes: tuple[str, ...]
    make: Callable[[Any, Store], FastAPI]
    requests: tuple[str, ...]
    options: dict[str, Any]
    kinds: tuple[str, ...]


CASES: list[Case] = []


def seen_by(
    probes: str, page: str, pair: str, *requests: str, kinds: str = "sqlite", **options: Any
) -> Any:
    """Register a function that makes the application from a half and a database."""

    def register(make: Callable[[Any, Store], FastAPI]) -> Any:
        case = Case(page, pair, tuple(probes.split()), make, requests, options, (*kinds.split(),))
        CASES.append(case)
        return make

    return register


@seen_by("commit", "fastapi/dependencies", "one-session-alias", ORDER, kinds="sqlite postgres")
def orders(half, store):
    """An order is stored through the session of the alias."""
    app = shop(store.url)

    @app.post("/orders", status_code=201)
    async def order(sku: str, session: half.Session) -> str:
        await session.execute(WRITE, {"sku": sku})
        return sku

    return app


@seen_by("checkouts", "fastapi/dependencies", "sessions-for-streams", LIST, kinds="sqlite postgres")
def stream(half, store):
    """The stock is streamed."""
    app = shop(store.url)
    app.get("/stock")(half.export)
    return app


@seen_by(
    "statements", "sqlalchemy/relationships", "forbid-implicit-loads", "GET /sizes",
)  # fmt: skip
def comments(half, store):
    """The sizes of all comments are listed."""
    app = shop(store.url)

    @app.get("/sizes")
    async def sizes(request: Request) -> list[int]:
        async with request.state.sessions() as session:
            return await half.sizes(session)

    return app


class Login(BaseModel):
    name: str
    password: str


@seen_by(
    "inputs", "fastapi/middleware", "problem-details-without-inputs",
    'POST /login {"name": "ann", "password": "pa55"}',
)  # fmt: skip
def login(half, store):
    """A password is sent."""
    app = half.app

    @app.post("/login")
    async def log_in(body: Login) -> str:
        return body.name

    return app


@seen_by(
    "checkouts dials", "pooling/database", "one-engine-in-the-lifespan", LIST, kinds="postgres"
)
def engine(half, store):
    """The stock is read in a session of the half's lifespan."""
    app = FastAPI(lifespan=half.lifespan)
    app.state.database_url = store.url
    app.get("/stock")(skus)
    return app


@seen_by("dials", "pooling/http", "one-bounded-session-per-process", "GET /quote")
def client(half, store):
    """Another service is asked."""
    app = FastAPI(lifespan=getattr(half, "lifespan", None))
    servers: list[CountingServer] = []

    @app.get("/quote")
    async def quote(http: Annotated[aiohttp.ClientSession, Depends(half.get_http)]) -> str:
        if not servers:
            servers.append(await CountingServer().__aenter__())
        async with http.get(servers[0].url) as answer:
            return await answer.text()

    return app


@seen_by("tasks", "asyncio/taskgroup", "own-background-tasks", "POST /mails")
def mails(half, store):
    """A mail is sent after the response; the shutdown drains."""

    async def mail() -> None:
        for _ in range(120):
            await asyncio.sleep(0.005)

    @asynccontextmanager
    async def lifespan(app):
        yield
        await half.drain()

    app = FastAPI(lifespan=lifespan)

    @app.post("/mails")
    async def send() -> None:
        half.spawn(mail())

    return app


@seen_by("tasks", "asyncio/taskgroup", "keep-partial-results", "GET /quotes")
def quotes(half, store):
    """Of two sources one fails while the other is still at work."""

    async def slow() -> str:
        await asyncio.sleep(30)
        return "4.20"

    async def broken() -> str:
        await asyncio.sleep(0)
        raise OSError("no route to host")

    app = FastAPI()

    @app.get("/quotes")
    async def ask() -> dict[str, str]:
        return await half.ask_all(
            {"slow": slow(), "broken": broken()}, 0.1, (OSError, TimeoutError)
        )

    return app


@seen_by("cancel", "asyncio/cancellation", "retry-loops", "GET /prices")
def prices(half, store):
    """A price is fetched."""

    async def fetch() -> str:
        await asyncio.sleep(0.001)
        return "4.20"

    app = FastAPI()

    @app.get("/prices")
    async def price() -> str:
        return await half.poll(fetch)

    return app


@seen_by("cancel", "asyncio/cancellation", "stopping-a-task", "GET /watched")
def watched(half, store):
    """A worker runs beside the request, and is stopped with it."""

    async def work() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0)

    app = FastAPI()

    @app.get("/watched")
    async def watch() -> str:
        worker = asyncio.create_task(work())
        try:
            await asyncio.sleep(0)
        finally:
            await half.stop(worker)
        return "watched"

    return app


@seen_by(
    "errors health", "fastapi/lifespan", "readiness-that-answers", "GET /readyz",
    ready="/readyz", live="/livez", limits=Limits(ready=0.8, live=0.2, points=8),
)  # fmt: skip
def readiness(half, store):
    """The database is asked for readiness; a driver's error is an OSError, as asyncpg's are."""
    half.LIMIT = 0.2
    app = shop(store.url, checks=[])

    @app.middleware("http")
    async def checks(request: Request, call_next: Any) -> Any:
        async def check() -> None:
            try:
                async with request.state.engine.connect() as connection:
                    await connection.execute(text("SELECT 1"))
            except OperationalError as error:
                raise OSError(str(error)) from error

        request.scope["state"]["checks"] = [check]
        return await call_next(request)

    app.include_router(half.router)
    return app


@seen_by(
    "commit", "sqlalchemy/sessions", "catch-a-conflict-around-a-savepoint", ORDER,
    kinds="postgres",
)  # fmt: skip
def conflict(half, store):
    """An order is stored beside a row that is there already."""

    class Base(DeclarativeBase): ...

    class Stock(Base):
        __tablename__ = "stock"
        sku: Mapped[str] = mapped_column(primary_key=True)

    app = shop(store.url)

    @app.post("/orders", status_code=201)
    async def order(sku: str, request: Request) -> None:
        async with request.state.sessions.begin() as session:
            stock = half.Repository(session, Stock)
            await stock.add(Stock(sku=sku))
            await stock.add(Stock(sku="a"))

    return app


@seen_by(
    "errors", "fastapi/middleware", "cors-around-everything", LIST,
    headers={"origin": "https://shop.example"},
)  # fmt: skip
def across_origins(half, store):
    """A page of another origin reads the stock."""

    class Auth:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

    api = shop(store.url)
    api.get("/stock")(skus)
    return half.create_app(api, Auth, ["https://shop.example"])
