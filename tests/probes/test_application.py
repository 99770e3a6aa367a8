"""How an application is loaded and started, and what is said where it is not."""

import os
import sys
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import create_async_engine

from tests.harness.probing import probed
from tests.observers.shipped import shipped

application = shipped("core.application")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A='one two'", "one two"),
        ('A="one # two" # three', "one # two"),
        ("A=one two # three", "one two"),
        ("export A = http://shop/#part", "http://shop/#part"),
        ("A=", ""),
        ("A='", None),
        ('A="one" two', None),
    ],
)
def test_a_value_is_read_as_uvicorns_env_file_is(tmp_path, monkeypatch, line, value) -> None:
    """Quotes go, and so does a comment; a quote that does not close is no value."""
    for name in ("A", "B"):
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv("A")
    (tmp_path / ".env").write_text(f"B=1\n{line}\n", encoding="utf-8")
    told = ""
    try:
        application.read_env(tmp_path / ".env")
    except application.ApplicationError as error:
        told = str(error)

    assert os.environ.get("A") == value
    assert (".env:2: its quote does not close" in told) is (value is None)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("shop:ap", (), "it has app"),
        ("shop.app", (), "write MODULE:APP, as shop:app"),
        ("shop.py:app", (), "write MODULE:APP, as shop:app"),
        ("shop:app", ("factory",), "leave --factory out"),
    ],
)
def test_a_name_that_is_nearly_right_is_told_the_right_one(
    tmp_path, monkeypatch, name, options, said
) -> None:
    """A typo, a file's name, a dot for the colon, and a factory that is none."""
    module = f"shop_{tmp_path.name}"
    code = "class App:\n    async def __call__(self, scope, receive, send): ...\napp = App()\n"
    (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    asked = name.replace("shop", module, 1)
    with pytest.raises(application.ApplicationError) as error:
        application.load(asked, factory="factory" in options, folder=tmp_path)

    assert said.replace("shop", module) in str(error.value)


def test_a_startup_that_fails_deep_in_a_driver_is_told_by_the_users_line() -> None:
    """A database that is away makes forty lines of libraries, and one that the user can mend."""

    @asynccontextmanager
    async def lifespan(app):
        engine = create_async_engine("postgresql+asyncpg://shop@127.0.0.1:1/shop")
        async with engine.connect():
            yield

    with pytest.raises(application.ApplicationError, match="Connect call failed") as error:
        probed(FastAPI(lifespan=lifespan), "GET /")

    said = str(error.value)
    assert "test_application.py" in said
    assert len(said.splitlines()) < 10
