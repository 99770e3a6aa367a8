"""Texts of pytest about async tests, each from a run of its own."""

import functools
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from tests.harness.errors import produces

pytestmark = pytest.mark.slow
LIMIT = 60
PLAIN = """
    import pytest

    @pytest.fixture
    async def client():
        yield "client"

    async def test_alone():
        pass

    def test_with_a_client(client):
        pass

    @pytest.mark.asyncio
    async def test_marked():
        pass
"""
OLD = """
    import pytest
    import pytest_asyncio

    @pytest.fixture
    def client(event_loop):
        return "client"

    def test_one(client):
        pass

    @pytest_asyncio.fixture(scope="session", loop_scope="function")
    async def engine():
        return "engine"

    @pytest.mark.asyncio
    async def test_two(engine):
        pass
"""
CURED = """
    import asyncio
    import pytest

    @pytest.fixture(scope="session")
    async def engine():
        yield asyncio.get_running_loop()

    @pytest.fixture
    async def client():
        yield asyncio.get_running_loop()

    async def test_alone():
        pass

    async def test_with_a_client(client, engine):
        assert client is engine is asyncio.get_running_loop()

    @pytest.mark.asyncio
    async def test_marked():
        pass
"""
SETTINGS = """
asyncio_mode = auto
asyncio_default_fixture_loop_scope = session
asyncio_default_test_loop_scope = session
"""


@functools.cache
def run(tests, *plugins, settings=""):
    """What pytest prints of these tests, with these plugins and no others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_one.py").write_text(textwrap.dedent(tests))
        Path(folder, "pytest.ini").write_text(f"[pytest]\n{settings}")
        options = [part for plugin in plugins for part in ("-p", plugin)]
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
            cwd=folder,
            env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ).stdout


def cure():
    """The same tests as pytest-asyncio runs them."""
    printed = run(CURED, "pytest_asyncio.plugin", settings=SETTINGS)
    assert "3 passed" in printed, printed
    return printed


@produces("fastapi", "async def functions are not natively supported", limit=LIMIT)
def no_plugin_runs_an_async_test(cured):
    """An async test, and no plugin for it."""
    return cure() if cured else run(PLAIN)


@produces("fastapi", "requested an async fixture", limit=LIMIT)
def a_plain_test_asks_for_an_async_fixture(cured):
    """An async fixture that no plugin handles."""
    return cure() if cured else run(PLAIN)


@produces("fastapi", "Unknown pytest.mark.asyncio", limit=LIMIT)
def a_mark_has_no_plugin(cured):
    """The mark of pytest-asyncio, which is not installed."""
    return cure() if cured else run(PLAIN)


@produces("fastapi", '"asyncio_default_fixture_loop_scope" is unset', limit=LIMIT)
def no_loop_scope_is_configured(cured):
    """pytest-asyncio without a word about loops."""
    return cure() if cured else run(OLD, "pytest_asyncio.plugin")


@produces("fastapi", "fixture 'event_loop' not found", limit=LIMIT)
def a_fixture_asks_for_the_event_loop(cured):
    """The fixture that pytest-asyncio 1.0 dropped."""
    return cure() if cured else run(OLD, "pytest_asyncio.plugin")


@produces("fastapi", "ScopeMismatch: You tried to access the function scoped fixture", limit=LIMIT)
def a_session_fixture_has_a_functions_loop(cured):
    """A fixture for the session, in a loop for one test."""
    return cure() if cured else run(OLD, "pytest_asyncio.plugin")
