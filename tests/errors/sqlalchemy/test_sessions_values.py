"""Texts of values whose Python type does not fit the column, or the parameter."""

import contextlib
import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.types.json import Jsonb
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import JSON, BigInteger, DateTime, String, cast, func, literal, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.errors.sqlalchemy.shop import APPLE, Item
from tests.harness.errors import produces


async def execute(shop, query, **values):
    """One statement on a new session."""
    async with shop.sessions() as sessions, sessions() as session:
        return (await session.execute(query, values)).all()


@produces("sqlalchemy", "can't subtract offset-naive and offset-aware datetimes")
async def an_aware_value_meets_a_naive_column(shop, cured):
    """`datetime.now(UTC)` goes to a column of `timestamp without time zone`."""
    await execute(shop, select(literal(datetime.now(UTC), DateTime(timezone=cured))))


@produces("sqlalchemy", "invalid input for query argument")
async def a_string_is_sent_for_a_number(shop, cured):
    """A path parameter reaches the query as the string it came as."""
    key = str(APPLE)
    async with shop.sessions() as sessions, sessions() as session:
        await session.get_one(Item, int(key) if cured else key)


@produces("sqlalchemy", "operator does not exist")
async def a_column_is_compared_with_another_type(shop, cured):
    """The same string is compared with a number column in a query of its own."""
    key = str(APPLE)
    await execute(shop, select(Item.name).where(Item.id == (int(key) if cured else key)))


@produces("sqlalchemy", "value out of int32 range")
async def a_number_is_too_large_for_its_column(shop, cured):
    """An id from a path is larger than the column's type."""
    key = 3_000_000_000
    await execute(shop, select(Item).where(Item.id == (cast(key, BigInteger) if cured else key)))


@produces("sqlalchemy", 'invalid byte sequence for encoding "UTF8": 0x00')
async def a_string_has_a_null_byte(shop, cured):
    """A string from a request holds a character that PostgreSQL cannot store."""

    class ItemIn(BaseModel):
        name: str = Field(pattern=r"^[^\x00]*$" if cured else None)

    assert ItemIn(name="a\n").name == "a\n"
    with contextlib.suppress(ValidationError):
        await execute(shop, select(literal(ItemIn(name="a\0").name)))


@produces("sqlalchemy", "cannot contain NUL (0x00) bytes")
async def a_string_has_a_null_byte_for_psycopg(shop, cured):
    """The same string, and psycopg refuses it."""
    async with await psycopg.AsyncConnection.connect(shop.database.url) as connection:
        await connection.execute("SELECT %s", ["a" if cured else "a\0"])


@produces("sqlalchemy", 'syntax error at or near "$1"')
async def a_command_gets_a_parameter(shop, cured):
    """SET takes no parameters."""
    if cured:
        await execute(shop, select(func.set_config("lock_timeout", "2s", True)))
    else:
        await execute(shop, text("SET LOCAL lock_timeout = :limit"), limit="2s")


@produces("sqlalchemy", 'syntax error at or near ":"')
async def a_parameter_is_cast_by_colons(shop, cured):
    """`text()` finds no parameter in `:name::text`."""
    query = "SELECT CAST(:name AS text)" if cured else "SELECT :name::text"
    await execute(shop, text(query), name="apple")


@produces("sqlalchemy", "could not determine data type of parameter $")
async def a_parameter_has_no_type(shop, cured):
    """Nothing in the query says what type the parameter has."""
    name = "CAST(:name AS text)" if cured else ":name"
    await execute(shop, text(f"SELECT id FROM items WHERE {name} IS NULL OR n > 1"), name=None)


@produces("sqlalchemy", "inconsistent types deduced for parameter $")
async def a_parameter_has_two_types(shop, cured):
    """One parameter is stored in a string column, and in a number column."""
    word = "CAST(:word AS text)" if cured else ":word"
    change = f"UPDATE items SET name = {word}, n = CAST({word} AS integer) RETURNING id"
    await execute(shop, text(change), word="5")


@produces("sqlalchemy", "but expression is of type character varying")
async def a_string_is_stored_in_a_json_column(shop, cured):
    """The model says `str` of a column that is jsonb."""

    class Base(DeclarativeBase):
        pass

    class Event(Base):
        __tablename__ = "events"
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[Any] = mapped_column(JSONB if cured else String)

    body = {"n": 1}
    async with shop.sessions() as sessions, sessions() as session:
        await session.execute(text("CREATE TABLE events (id serial PRIMARY KEY, body jsonb)"))
        session.add(Event(body=body if cured else json.dumps(body)))
        await session.flush()


@produces("sqlalchemy", "is not JSON serializable")
async def a_uuid_is_stored_in_json(shop, cured):
    """A JSON column gets a value that `json.dumps` does not know."""
    options = {"json_serializer": lambda value: json.dumps(value, default=str)} if cured else {}
    async with shop.engine(**options) as engine, engine.connect() as connection:
        await connection.execute(select(literal({"id": uuid4()}, JSON)))


@produces("sqlalchemy", "cannot adapt type 'dict'")
async def a_dict_is_sent_by_psycopg(shop, cured):
    """psycopg gets a dict as a parameter."""
    body = {"n": 1}
    async with await psycopg.AsyncConnection.connect(shop.database.url) as connection:
        await connection.execute("SELECT %s", [Jsonb(body) if cured else body])


@produces("sqlalchemy", "are allowed as placeholders, got")
async def a_percent_sign_is_sent_by_psycopg(shop, cured):
    """A query with parameters holds a literal percent sign."""
    like = "ap%%" if cured else "ap%'"
    async with await psycopg.AsyncConnection.connect(shop.database.url) as connection:
        await connection.execute(f"SELECT 1 FROM items WHERE name LIKE '{like}' AND n=%s", [1])


@produces("sqlalchemy", "the server expects")
async def an_argument_is_missing(shop, cured):
    """asyncpg gets a query with a placeholder, and no argument."""
    async with shop.asyncpg() as connection:
        await connection.fetch("SELECT name FROM items WHERE id = $1", *([1] if cured else []))
