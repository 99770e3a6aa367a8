"""Texts of relationships that are read, or told to load."""

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import (
    DeclarativeBase,
    DynamicMapped,
    Mapped,
    WriteOnlyMapped,
    joinedload,
    mapped_column,
    raiseload,
    relationship,
    selectinload,
)

from tests.errors.sqlalchemy.shop import Item, Line, Order
from tests.harness.errors import produces
from tests.observers.asgi import request

LOADED = [selectinload(Order.lines)]


class LineOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: int


class OrderOut(BaseModel):
    """What a client sees of an order: its lines too."""

    model_config = ConfigDict(from_attributes=True)
    id: int
    lines: list[LineOut]


@produces("sqlalchemy", "is not bound to a Session; lazy load operation of attribute")
async def a_relationship_is_read_after_the_block(shop, cured):
    """An order outlives its session, and its lines are read then."""
    async with shop.sessions() as sessions:
        async with sessions() as session:
            order = await session.get(Order, 1, options=LOADED if cured else None)

        assert len(order.lines) == 1


@produces("sqlalchemy", "is not available due to lazy='raise_on_sql'")
async def a_relationship_may_not_load_itself(shop, cured):
    """The query forbids loads on access, and loads nothing."""
    forbidden = raiseload("*", sql_only=True)
    async with shop.sessions() as sessions, sessions() as session:
        order = await session.get(Order, 1, options=[forbidden])
        if cured:
            await session.refresh(order, ["lines"])

        assert len(order.lines) == 1


@produces("sqlalchemy", "The unique() method must be invoked")
async def a_joined_collection_repeats_its_parent(shop, cured):
    """Each line comes in a row with its order, and nobody reduces the orders."""
    load = selectinload if cured else joinedload
    async with shop.sessions() as sessions, sessions() as session:
        orders = await session.scalars(select(Order).options(load(Order.lines)))

        assert len(orders.all()) == 1


@produces("sqlalchemy", "Error extracting attribute")
async def a_response_shows_what_nobody_loaded(shop, cured):
    """A response model names a relationship that the endpoint's query leaves out."""
    app = FastAPI()
    async with shop.sessions() as sessions:

        @app.get("/", response_model=OrderOut)
        async def read():
            async with sessions() as session:
                return await session.get(Order, 1, options=LOADED if cured else None)

        answer = await request(app)
    if answer.error:
        raise answer.error
    assert answer.json() == {"id": 1, "lines": [{"id": 1}]}


@produces("sqlalchemy", "Input should be a valid dictionary or instance of")
def a_response_model_does_not_read_attributes(cured):
    """A mapped object is validated by a model that knows dictionaries only."""

    class ItemOut(BaseModel):
        model_config = ConfigDict(from_attributes=cured)
        name: str

    ItemOut.model_validate(Item(name="apple"))


@produces("sqlalchemy", "does not support object population - eager loading cannot be applied")
async def a_dynamic_collection_is_loaded_eagerly(shop, cured):
    """A collection that is a query by itself is named in a loader option."""

    class Base(DeclarativeBase):
        pass

    class Row(Base):
        __tablename__ = "lines"
        id: Mapped[int] = mapped_column(primary_key=True)
        order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))

    class Sheet(Base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)
        rows: WriteOnlyMapped[Row] if cured else DynamicMapped[Row] = relationship()

    query = select(Sheet) if cured else select(Sheet).options(selectinload(Sheet.rows))
    async with shop.sessions() as sessions, sessions() as session:
        sheet = await session.scalar(query)

        rows = await session.scalars(sheet.rows.select().limit(20))
        assert len(rows.all()) == 1


@produces("sqlalchemy", "Strings are not accepted for attribute names in loader options")
def a_loader_gets_a_string(cured):
    """The relationship is named as SQLAlchemy 1.x allowed it."""
    select(Order).options(selectinload(Order.lines if cured else "lines"))


@produces("sqlalchemy", "does not apply to any of the root entities in this query")
async def a_loader_starts_elsewhere(shop, cured):
    """The query selects lines, and the option starts at orders."""
    load = selectinload(Order.lines)
    if cured:
        load = selectinload(Line.order).selectinload(Order.lines)
    async with shop.sessions() as sessions, sessions() as session:
        await session.scalars(select(Line).options(load))


@produces("sqlalchemy", "Can't use yield_per with eager loaders that require uniquing")
async def a_stream_joins_a_collection(shop, cured):
    """Rows are to come in portions, and each order needs all its rows at once."""
    load = selectinload if cured else joinedload
    query = select(Order).options(load(Order.lines)).execution_options(yield_per=10)
    async with shop.sessions() as sessions, sessions() as session:
        orders = [order async for order in await session.stream_scalars(query)]

    assert len(orders) == 1
