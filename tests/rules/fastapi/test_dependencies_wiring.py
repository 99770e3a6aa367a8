"""Confirmations of the traps of fastapi/dependencies in types, errors, settings and overrides."""

import gc
import statistics
import subprocess
import sys
import time
import weakref
from collections.abc import AsyncIterator
from functools import lru_cache
from types import ModuleType
from typing import Annotated, Any

import anyio
import pytest
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.harness import confirms, correct
from tests.observers.asgi import request

RULE = "fastapi/dependencies"

ALIASES = """
from typing import Annotated

from fastapi import Depends


async def provide():
    return {"a": 1}


Found = Annotated[dict, Depends(provide)]
"""
SERVICE = """
from fastapi import FastAPI
from tests_aliases import Found

app = FastAPI()


@app.get("/")
async def read(found: Found) -> dict:
    return found
"""


@confirms(RULE, "postponed-annotations")
@pytest.mark.parametrize(
    ("first", "target"), [("from __future__ import annotations", "py311"), ("", "py314")]
)
async def ruff_turns_a_dependency_into_a_query_parameter(first, target, tmp_path, monkeypatch):
    """The fix of TC001 to TC003 hides the import of an alias: 200 becomes 422 for everybody."""
    if target == "py314" and sys.version_info < (3, 14):
        pytest.skip("needs Python 3.14, which evaluates annotations late")
    aliases = ModuleType("tests_aliases")
    exec(ALIASES, aliases.__dict__)  # noqa: S102
    monkeypatch.setitem(sys.modules, "tests_aliases", aliases)
    path = tmp_path / "service.py"
    path.write_text(first + SERVICE)

    async def answered() -> tuple[int, Any]:
        module = ModuleType("service")
        exec(compile(path.read_text(), str(path), "exec", dont_inherit=True), module.__dict__)  # noqa: S102
        exchange = await request(module.app)
        return exchange.status, exchange.json()

    before = await answered()
    fix = ["--fix", "--unsafe-fixes", "--quiet", "--select=TC001,TC002,TC003"]
    how = ["--isolated", "--no-cache", f"--target-version={target}", *fix, str(path)]
    subprocess.run([sys.executable, "-m", "ruff", "check", *how], check=True, timeout=20)  # noqa: ASYNC221 - nothing else runs in this loop
    status, body = await answered()

    assert before == (200, {"a": 1})
    assert (status, body["detail"][0]["loc"]) == (422, ["query", "found"])


@confirms(RULE, "swallowed-exceptions")
@pytest.mark.parametrize("scope", ["request", "function"])
async def a_swallowed_404_is_a_500(scope):
    """`except` without `raise` costs the answer, in either scope; with `raise` it is a 404."""

    def app(reraise: bool) -> FastAPI:
        async def provide() -> AsyncIterator[None]:
            try:
                yield
            except HTTPException:
                if reraise:
                    raise

        app = FastAPI()

        @app.get("/", dependencies=[Depends(provide, scope=scope)])
        async def missing() -> None:
            raise HTTPException(404)

        return app

    swallowed, raised = await request(app(reraise=False)), await request(app(reraise=True))

    assert (swallowed.status, raised.status) == (500, 404)


class Base(DeclarativeBase):
    """The models of this file."""


class Account(Base):
    """A row with a column that is nobody's business."""

    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    password_hash: Mapped[str]


class AccountOut(BaseModel):
    """What clients may see of an account."""

    id: int


class LineOut(BaseModel):
    """A line of an order, as clients see it."""

    sku: str
    quantity: int


class OrderOut(BaseModel):
    """An order, as clients see it."""

    id: int
    lines: list[LineOut]


@confirms(RULE, "no-return-type")
async def an_orm_object_without_a_return_type_is_sent_whole():
    """Every column goes out without a return type, and only the declared ones with it."""
    app = FastAPI()

    row = {"id": 1, "password_hash": "argon2"}

    @app.get("/bare")
    async def bare():
        return Account(**row)

    @app.get("/typed")
    async def typed() -> AccountOut:
        return Account(**row)

    assert (await request(app, "/bare")).json() == row
    assert (await request(app, "/typed")).json() == {"id": 1}


@confirms(RULE, "no-return-type")
async def a_return_type_encodes_faster_than_none():
    """The same answer, rounds of each in turn: the median round without one takes longer."""
    app = FastAPI()
    answer = {"id": 1, "lines": [{"sku": "nut", "quantity": 3}] * 3}

    @app.get("/bare")
    async def bare():
        return answer

    @app.get("/typed")
    async def typed() -> OrderOut:
        return answer

    took = {"/bare": [], "/typed": []}
    for path in list(took) * 15:
        before = time.process_time()
        for _ in range(20):
            assert (await request(app, path)).json() == answer
        took[path].append(time.process_time() - before)

    assert statistics.median(took["/bare"]) > 1.05 * statistics.median(took["/typed"])


@confirms(RULE, "settings-at-import")
@pytest.mark.parametrize("kind", ["coroutine", "generator"])
async def a_cached_provider_serves_one_request(kind):
    """What the cache keeps of `async def`, or of `yield`, is spent after one use at most."""

    @lru_cache
    async def coroutine() -> str:
        return "settings"

    @lru_cache
    async def generator() -> AsyncIterator[str]:
        yield "settings"

    app = FastAPI()
    provider = {"coroutine": coroutine, "generator": generator}[kind]

    @app.get("/")
    async def read(found: Annotated[str, Depends(provider)]) -> str:
        return found

    first, second = [(await request(app)).status for _ in range(2)]

    assert first in (200, 500)  # before FastAPI looked under the cache, not even the first
    assert second == 500


@confirms(RULE, "settings-at-import")
async def a_cached_provider_keeps_the_session_it_takes():
    """A session of a request that is over is still referred to."""

    class Opened: ...

    closed: list[Any] = []

    async def get_session() -> AsyncIterator[object]:
        session = Opened()
        yield session
        closed.append(weakref.ref(session))

    @lru_cache
    def get_orders(session: Annotated[object, Depends(get_session)]) -> dict[str, object]:
        return {"session": session}

    def get_fresh(session: Annotated[object, Depends(get_session)]) -> dict[str, object]:
        return {"session": session}

    async def kept(provider: Any) -> bool:
        app = FastAPI()

        @app.get("/")
        async def read(orders: Annotated[dict[str, object], Depends(provider)]) -> bool:
            return "session" in orders

        assert (await request(app)).json() is True
        await anyio.to_thread.run_sync(gc.collect)  # the thread forgets its last call
        return closed.pop()() is not None

    assert await kept(get_orders)
    assert not await kept(get_fresh)


@confirms(RULE, "settings-at-import", "overrides-in-tests")
async def a_module_global_ignores_overrides(monkeypatch):
    """A global keeps the value it was built with; the provider is overridden until cleared."""
    half = correct(RULE, "settings-that-keep-secrets")
    monkeypatch.setenv("APP_JWT_KEY", "k" * 32)
    monkeypatch.setenv("APP_DATABASE_URL", "postgresql://real")
    settings = half.load_settings()
    app = FastAPI()

    @app.get("/global")
    async def read_global() -> str:
        return settings.database_url.get_secret_value()

    @app.get("/provided")
    async def read(found: Annotated[half.Settings, Depends(half.get_settings)]) -> str:
        return found.database_url.get_secret_value()

    async def answers() -> tuple[str, str]:
        paths = ("/global", "/provided")
        first, second = [(await request(app, path)).json() for path in paths]
        return first, second

    app.dependency_overrides[half.get_settings] = lambda: half.Settings(database_url="test")
    assert await answers() == ("postgresql://real", "test")
    app.dependency_overrides.clear()
    assert await answers() == ("postgresql://real", "postgresql://real")
    assert half.load_settings() is settings


@confirms(RULE, "overrides-in-tests")
async def an_override_belongs_to_a_function_and_an_application():
    """The parent's override does not reach a mounted application; its own does."""

    async def get_orders() -> str:
        return "real"

    mounted, app = FastAPI(), FastAPI()

    @mounted.get("/")
    async def read(orders: Annotated[str, Depends(get_orders)]) -> str:
        return orders

    app.mount("/mounted", mounted)

    app.dependency_overrides[get_orders] = lambda: "fake"
    assert (await request(app, "/mounted/")).json() == "real"
    mounted.dependency_overrides[get_orders] = lambda: "fake"
    assert (await request(app, "/mounted/")).json() == "fake"
