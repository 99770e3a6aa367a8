"""Texts of tests: clients of an application, mocks of a session."""

import importlib
import sys
from unittest.mock import AsyncMock

import httpx2
import pytest
import starlette
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from tests.harness.errors import produces


@pytest.fixture
def fresh_client(monkeypatch):
    """Import TestClient once more, as a process would that lacks these packages."""

    def import_without(*packages):
        name = "starlette.testclient"
        monkeypatch.setattr(starlette, "testclient", None, raising=False)
        for module in (name, *packages):
            monkeypatch.setitem(sys.modules, module, None)
        del sys.modules[name]
        importlib.import_module(name)

    return import_without


@produces("fastapi", "got an unexpected keyword argument 'app'")
async def a_client_is_given_an_application(cured):
    """`AsyncClient(app=app)`, and a transport in its place."""
    app = FastAPI()
    options = {"transport": httpx2.ASGITransport(app)} if cured else {"app": app}
    async with httpx2.AsyncClient(base_url="http://test", **options) as client:
        await client.get("/")


@produces("fastapi", "StarletteDeprecationWarning: Using", where="starlette>=1.0")
def the_test_client_finds_httpx_only(fresh_client, cured):
    """httpx is installed, its successor is not."""
    fresh_client(*([] if cured else ["httpx2"]))


@produces("fastapi", "The starlette.testclient module requires the")
def the_test_client_finds_no_client(fresh_client, cured):
    """No HTTP client is installed."""
    fresh_client(*([] if cured else ["httpx2", "httpx"]))


@produces("fastapi", "coroutine 'AsyncMockMixin._execute_mock_call' was never awaited")
def a_mock_makes_a_plain_method_async(cured):
    """An AsyncMock stands for a session, whose `add()` is no coroutine function."""
    session = AsyncMock(spec=AsyncSession) if cured else AsyncMock()
    session.add("row")
