"""Fixtures for every test: one PostgreSQL server a run, one database a worker, what ships."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rulebook.cli import main
from tests.servers.postgres import Database, postgres_server

SHARED = "PYTHON_BACKEND_TEST_POSTGRES"
server = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    """Under xdist the controller starts the server, and the workers inherit its address."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # As a background job runs us; what we start would inherit that, and be deaf to Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    parallel = getattr(config.option, "numprocesses", None)
    if parallel and not hasattr(config, "workerinput"):
        os.environ[SHARED] = server.enter_context(postgres_server()).url


def pytest_unconfigure() -> None:
    server.close()


@pytest.fixture(scope="session")
def postgres_database(worker_id: str) -> Iterator[Database]:
    """A database of this worker's own."""
    with ExitStack() as stack:
        shared = os.environ.get(SHARED)
        main = Database(shared) if shared else stack.enter_context(postgres_server())
        name = f"python_backend_{worker_id}"
        main.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        main.execute(f"CREATE DATABASE {name}")
        yield main.named(name)
        main.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def postgres(postgres_database: Database) -> Database:
    """An empty PostgreSQL database with nobody connected."""
    postgres_database.empty()
    return postgres_database


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dist tree, as `rulebook ship` writes it."""
    folder = tmp_path_factory.mktemp("shipped") / "dist"
    assert main(["ship", str(folder)]) == 0
    return folder
