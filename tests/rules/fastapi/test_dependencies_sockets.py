"""Confirmations of the traps of fastapi/dependencies about WebSockets."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.requests import HTTPConnection
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from tests.harness import confirms, correct, incorrect
from tests.observers.websocket import websocket
from tests.rules.fastapi.test_dependencies_tokens import state, token
from tests.servers.postgres import Database

RULE = "fastapi/dependencies"
INSERT = text("INSERT INTO orders (sku) VALUES (:sku)")


@asynccontextmanager
async def stock(postgres: Database) -> AsyncIterator[tuple[AsyncEngine, dict[str, Any]]]:
    """An engine on a database with a table of orders, and the state with its sessions."""
    postgres.execute("CREATE TABLE orders (id serial PRIMARY KEY, sku text NOT NULL)")
    engine = create_async_engine(postgres.asyncpg)
    try:
        yield engine, {"sessions": async_sessionmaker(engine)}
    finally:
        await engine.dispose()


@confirms(RULE, "session-on-a-socket")
async def the_alias_gives_a_socket_a_session(postgres):
    """The alias of the rule works on a WebSocket, as its parameter is an HTTPConnection."""
    app = FastAPI()

    @app.websocket("/")
    async def feed(socket: WebSocket, session: correct(RULE, "one-session-alias").Session) -> None:
        await socket.accept()
        await session.execute(INSERT, {"sku": "a"})
        await socket.send_text("stored")

    async with stock(postgres) as (_, sessions), websocket(app, state=sessions) as socket:
        assert await socket.receive() == "stored"

    assert socket.error is None
    assert postgres.execute("SELECT sku FROM orders") == [("a",)]


@confirms(RULE, "session-on-a-socket")
@pytest.mark.parametrize("scope", ["request", "function"])
async def a_session_parameter_is_held_and_rolled_back(scope, postgres):
    """Between two messages its connection is out; when the client leaves, nothing is stored."""
    half: ModuleType = incorrect(RULE, "one-session-alias")
    if scope == "function":
        half = correct(RULE, "one-session-alias")
    app = FastAPI()

    @app.websocket("/")
    async def feed(socket: WebSocket, session: half.Session) -> None:
        await socket.accept()
        while True:
            await session.execute(INSERT, {"sku": await socket.receive_text()})
            await socket.send_text("stored")

    async with stock(postgres) as (engine, sessions):
        async with websocket(app, state=sessions) as socket:
            for sku in ("a", "b"):
                socket.send(sku)
                assert await socket.receive() == "stored"
            out = engine.pool.checkedout()
        left = engine.pool.checkedout()

    assert (out, left) == (1, 0)
    assert postgres.execute("SELECT sku FROM orders") == []


@confirms(RULE, "session-on-a-socket")
async def a_session_for_each_message_is_neither_held_nor_lost(postgres):
    """Each message is committed before its answer, and no connection is out while one waits."""
    app = FastAPI()

    @app.websocket("/")
    async def feed(socket: WebSocket) -> None:
        await socket.accept()
        while True:
            sku = await socket.receive_text()
            async with socket.state.sessions.begin() as session:
                await session.execute(INSERT, {"sku": sku})
            await socket.send_text("stored")

    async with stock(postgres) as (engine, sessions), websocket(app, state=sessions) as socket:
        socket.send("a")
        answered, out = await socket.receive(), engine.pool.checkedout()

    assert (answered, out) == ("stored", 0)
    assert postgres.execute("SELECT sku FROM orders") == [("a",)]


@confirms(RULE, "tokens-from-browsers")
@pytest.mark.parametrize("sent", ["good", "expired", "nothing"])
async def the_first_message_can_carry_the_token(sent):
    """The half's function checks a token from a message; a bad or late one closes with 1008."""
    half, app = correct(RULE, "tokens-that-expire"), FastAPI()

    @app.websocket("/")
    async def feed(socket: WebSocket) -> None:
        await socket.accept()
        try:
            async with asyncio.timeout(5) as timer:
                if sent == "nothing":
                    timer.reschedule(asyncio.get_running_loop().time())
                user = await half.get_user_id(socket, await socket.receive_text())
        except (TimeoutError, HTTPException):
            await socket.close(1008)
        else:
            await socket.send_text(user)

    async with websocket(app, state=state()) as socket:
        if sent != "nothing":
            socket.send(token() if sent == "good" else token(exp=1))
        answer = await socket.receive()

    assert (socket.status, socket.error) == (101, None)
    assert (answer, socket.code) == (("ann", None) if sent == "good" else (None, 1008))


class Bearer(OAuth2PasswordBearer):
    """What FastAPI before 0.144 needs, as its own class takes a Request only."""

    async def __call__(self, request: HTTPConnection) -> str | None:
        return await super().__call__(request)


@confirms(RULE, "tokens-from-browsers")
@pytest.mark.parametrize("bearer", ["FastAPI's", "subclass"])
async def a_header_is_checked_in_the_handshake(bearer):
    """As a dependency the half wants the header, which no browser sends, before `accept()`."""
    half, app = correct(RULE, "tokens-that-expire"), FastAPI()
    parameters = inspect.signature(OAuth2PasswordBearer.__call__).parameters
    if bearer == "subclass":
        app.dependency_overrides[half.Token.__metadata__[0].dependency] = Bearer("login")
    elif parameters["request"].annotation is Request:
        pytest.skip("needs FastAPI 0.144; test_eras.py shows what older ones do")

    @app.websocket("/")
    async def feed(socket: WebSocket, user: Annotated[str, Depends(half.get_user_id)]) -> None:
        await socket.accept()
        await socket.send_text(user)

    async def handshake(headers: dict[str, str]) -> tuple[int, str | None]:
        async with websocket(app, headers=headers, state=state()) as socket:
            return socket.status, await socket.receive() if socket.status == 101 else None

    assert await handshake({"authorization": f"Bearer {token()}"}) == (101, "ann")
    assert await handshake({"authorization": f"Bearer {token(exp=1)}"}) == (401, None)
    assert await handshake({}) == (401, None)
