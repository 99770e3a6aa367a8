"""Databases for the shop."""

from pathlib import Path

import pytest

from tests.probes.shop import Store, postgres_store, sqlite_store


@pytest.fixture
def sqlite(tmp_path: Path) -> Store:
    """A shop's database in a file."""
    return sqlite_store(tmp_path)


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A shop's database of each kind in turn."""
    if request.param == "sqlite":
        return sqlite_store(tmp_path)
    return postgres_store(request.getfixturevalue("postgres"))


@pytest.fixture
def postgres_shop(request: pytest.FixtureRequest) -> Store:
    """A shop's database on PostgreSQL."""
    return postgres_store(request.getfixturevalue("postgres"))
