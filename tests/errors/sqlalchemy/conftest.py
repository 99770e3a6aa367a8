"""Fixtures of the error texts of SQLAlchemy."""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import create_engine

from tests.errors.sqlalchemy.shop import STORED, Base, Shop
from tests.servers.postgres import Database


@pytest.fixture(scope="module")
def shop_database(postgres_database: Database) -> Iterator[psycopg.Connection]:
    """The shop's tables, made once a module, and a connection that fills them."""
    postgres_database.empty()
    engine = create_engine(postgres_database.psycopg)
    Base.metadata.create_all(engine, checkfirst=False)
    engine.dispose()
    with psycopg.connect(postgres_database.url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def shop(shop_database: psycopg.Connection, postgres_database: Database) -> Shop:
    """A shop with what is stored in it, and nothing else."""
    shop_database.execute(STORED)
    return Shop(postgres_database)
