"""Correct halves of different rules in one service: what one promises, the others leave whole."""

import asyncio
import json
import logging
from typing import Annotated, Any

import aiohttp
import httpx2
import pytest
import sqlalchemy as sa
from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.exceptions import FastAPIError
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship

from tests.harness import correct
from tests.harness.judge import run
from tests.observers.asgi import request, running
from tests.observers.websocket import websocket
from tests.rules.assembled import ORIGIN, Passing, alias, cleanup, make_api, serve, tokens
from tests.rules.fastapi.test_dependencies_tokens import token
from tests.servers.http import CountingServer

INSERT = sa.text("INSERT INTO stock VALUES ('nut')")
# COMMIT fails the first time, as a serialization failure does; a sequence is not rolled back.
CONFLICT = """
CREATE SEQUENCE tries;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF nextval('tries') = 1 THEN RAISE EXCEPTION 'once more' USING ERRCODE = '40001'; END IF;
  RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON stock DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.fixture
def api(postgres) -> FastAPI:
    """The application, and an empty table."""
    postgres.execute("CREATE TABLE stock (sku text)")
    return make_api(postgres)


@pytest.mark.parametrize(("claims", "status", "rows"), [({}, 101, 1), ({"exp": 1}, 401, 0)])
def test_a_socket_has_auth_and_a_session(api, postgres, claims, status, rows):
    """The token decides about the handshake, the alias stores at its end, the log lets it pass."""

    @api.websocket("/orders")
    async def orders(
        socket: WebSocket, session: alias.Session, user: Annotated[str, Depends(tokens.get_user_id)]
    ) -> None:
        await socket.accept()
        await session.execute(INSERT)
        await socket.send_text(user)

    async def talk() -> int:
        app = serve(api, Passing)
        headers = {"authorization": f"Bearer {token(**claims)}"}
        async with running(app) as state, websocket(app, "/orders", headers, state=state) as socket:
            if socket.status == 101:
                assert await socket.receive() == "ann"
        return socket.status

    if "HTTPConnection" not in str(OAuth2PasswordBearer.__call__.__annotations__):
        pytest.skip("needs FastAPI 0.144, whose security classes accept sockets")
    assert run(talk, 10) == status
    assert postgres.execute("SELECT count(*) FROM stock") == [(rows,)]


def test_a_middleware_that_raises_is_a_problem_with_cors_and_a_line(api, caplog):
    """What it raises is answered by problem(), readable across origins, and logged."""

    class Refusing(Passing):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                raise HTTPException(401, "log in", {"WWW-Authenticate": "Bearer"})
            await self.app(scope, receive, send)

    async def ask() -> Any:
        app = serve(api, Refusing)
        async with running(app) as state:
            return await request(app, "/export", headers={"Origin": ORIGIN}, state=state)

    with caplog.at_level(logging.INFO, "access"):
        answer = run(ask, 10)

    line = json.loads(caplog.messages[-1])
    seen = [answer.status, answer.header("access-control-allow-origin"), line["status"]]
    assert seen == [401, ORIGIN, 401]
    assert answer.header("content-type") == "application/problem+json"
    assert "log in" in line["error"]


async def cut_by_its_deadline(fetch: Any) -> bool:
    """Whether a deadline around poll(fetch) is what ends it."""
    poll = correct("asyncio/cancellation", "retry-loops").poll
    try:
        async with asyncio.timeout(0.05) as deadline:
            await poll(fetch)
    except TimeoutError:
        return deadline.expired()
    return False


def test_a_late_cleanup_does_not_hide_the_deadline_from_poll():
    """A fetch whose cleanup exceeds its limit, itself a TimeoutError, is not fetched again."""
    calls = 0

    async def fetch() -> str:
        nonlocal calls
        calls += 1
        try:
            return await asyncio.Event().wait() and ""
        finally:
            await cleanup.finish(asyncio.sleep(5), 0.05)

    assert run(lambda: asyncio.run(cut_by_its_deadline(fetch)), 10)
    assert calls == 1


class Base(DeclarativeBase):
    """What the lock meets: an order and its lines."""


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(default=0)
    lines: Mapped[list["Line"]] = relationship(lazy="raise_on_sql", back_populates="order")


class Line(Base):
    __tablename__ = "lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"))
    order: Mapped[Order] = relationship(lazy="raise_on_sql", back_populates="lines")


def test_a_row_found_by_one_rule_is_locked_by_another(api, postgres):
    """refresh with a lock, on what the page half loads and on what joinedload joined."""
    page = correct("sqlalchemy/relationships", "filter-parents-by-exists").page
    repository = correct("sqlalchemy/sessions", "catch-a-conflict-around-a-savepoint").Repository

    async def locked() -> tuple[int, str]:
        async with running(api) as state, state["sessions"].begin() as session:
            await (await session.connection()).run_sync(Base.metadata.create_all)
            assert await repository(session, Order).add(Order(id=1, lines=[Line(id=1)]))
            session.expunge_all()

            query = page(sa.select(Order), Order.lines, Line.id == 1, Order.id)
            (order,) = await session.scalars(query)
            await session.refresh(order, ["n"], with_for_update=True)
            loaded = len(order.lines)

            session.expunge_all()
            joined = sa.select(Line).options(joinedload(Line.order))
            line = (await session.scalars(joined)).one()
            await session.refresh(line, with_for_update={"of": Line})
            refused = "nothing was refused"
            try:
                async with session.begin_nested():
                    await session.refresh(line, with_for_update=True)
            except DBAPIError as error:
                refused = str(error.orig)
            return loaded, refused

    loaded, refused = run(locked, 10)

    assert (loaded, "nullable side of an outer join" in refused) == (1, True)


def test_more_streams_than_connections_all_end(api, postgres):
    """Thirty slow readers of the stream, ten connections: none waits in vain, none is held."""
    postgres.execute("INSERT INTO stock SELECT i::text FROM generate_series(1, 2500) AS i")

    async def export() -> tuple[set[int], set[int]]:
        async with running(api) as state:
            pool = state["sessions"].kw["bind"].pool
            out, all_began, began = set(), asyncio.Event(), 0

            async def slowly(message: Any) -> None:
                nonlocal began
                if message["type"] == "http.response.start":
                    began += 1
                    if began == 30:
                        out.add(pool.checkedout())
                        all_began.set()
                    await all_began.wait()

            asked = [request(api, "/export", state=state, on_send=slowly) for _ in range(30)]
            answers = await asyncio.gather(*asked)
            return {len(answer.body.split()) for answer in answers}, out

    assert run(export, 20) == ({2500}, {0})


def test_a_unit_of_work_over_the_alias_needs_its_scope(api, postgres):
    """One of one's own fails at import; with the scope its exit is in the same COMMIT."""

    async def unit(session: alias.Session) -> Any:
        yield session
        await session.execute(INSERT)

    with pytest.raises(FastAPIError, match='cannot depend on dependencies with scope "function"'):

        @api.post("/refused")
        async def refused(work: Annotated[Any, Depends(unit)]) -> None: ...

    @api.post("/stored")
    async def stored(work: Annotated[Any, Depends(unit, scope="function")]) -> None:
        await work.execute(INSERT)

    async def post() -> int:
        async with running(api) as state:
            return (await request(api, "/stored", "POST", state=state)).status

    assert run(post, 10) == 200
    assert postgres.execute("SELECT count(*) FROM stock") == [(2,)]


@pytest.mark.parametrize(("own", "answers", "rows"), [(False, 500, 0), (True, 200, 1)])
def test_a_retry_needs_sessions_of_its_own(api, postgres, own, answers, rows):
    """40001 at COMMIT is out of reach with the alias, and repeated with a block of one's own."""
    postgres.execute(CONFLICT)

    @api.post("/alias")
    async def by_alias(session: alias.Session) -> None:
        await session.execute(INSERT)

    @api.post("/own")
    async def by_own(request: Request) -> None:
        for left in (2, 1, 0):
            try:
                async with request.state.sessions.begin() as session:
                    await session.execute(INSERT)
                return
            except DBAPIError as error:
                if not left or getattr(error.orig, "sqlstate", None) != "40001":
                    raise

    async def post() -> int:
        async with running(api) as state:
            path = "/own" if own else "/alias"
            return (await request(api, path, "POST", state=state)).status

    assert run(post, 10) == answers
    assert postgres.execute("SELECT count(*) FROM stock") == [(rows,)]


def test_sources_of_every_kind_are_asked_in_one_request(api):
    """aiohttp, httpx2 and the database: those that are down are missing, the others are there."""
    fan_out = correct("asyncio/taskgroup", "keep-partial-results")
    expected = (aiohttp.ClientError, TimeoutError, httpx2.HTTPError, OSError, SQLAlchemyError)

    async def scenario() -> dict[str, str]:
        async with CountingServer() as alive, running(api) as state, httpx2.AsyncClient() as client:

            async def by_aiohttp(url: str) -> str:
                async with state["http"].get(url) as response:
                    return await response.text()

            async def by_httpx(url: str) -> str:
                return (await client.get(url)).text

            async def by_database(query: str) -> str:
                async with state["sessions"]() as session:
                    return str(await session.scalar(sa.text(query)))

            down = "http://127.0.0.1:1"
            sources = {"a": by_aiohttp(alive.url), "b": by_aiohttp(down), "c": by_httpx(alive.url)}
            sources |= {"d": by_httpx(down), "e": by_database("SELECT 1")}
            return await fan_out.ask_all(sources | {"f": by_database("SELECT 1/0")}, 5, expected)

    assert run(scenario, 10) == {"a": "ok", "c": "ok", "e": "1"}
