"""What the rule on relationships says of the CPU that objects and statements take."""

from sqlalchemy import bindparam, select
from sqlalchemy.orm import joinedload, selectinload

from tests.harness import confirms
from tests.observers.cpu import cpu_ratio
from tests.observers.statements import statements
from tests.rules.sqlalchemy.test_relationships import Line, Order, database, order_of

RULE = "sqlalchemy/relationships"


@confirms(RULE, "objects-only-to-show", limit=50)
async def a_page_of_objects_costs_more_than_its_rows(postgres):
    """Twenty orders with three lines each, by statements that are built once."""
    orders = [order_of("a", "b", "c") for _ in range(20)]
    objects = select(Order).options(selectinload(Order.lines))
    columns = select(Order.id, Order.placed, Line.id, Line.sku).join(Order.lines)
    async with database(postgres.asyncpg, *orders) as (engine, sessions):

        async def shown_as_objects():
            async with sessions() as session:
                found = await session.scalars(objects)
                return [(each.id, each.placed, x.id, x.sku) for each in found for x in each.lines]

        async def shown_as_rows():
            async with sessions() as session:
                return (await session.execute(columns)).all()

        with statements(engine) as sent:
            assert sorted(await shown_as_objects()) == sorted(await shown_as_rows())
        ratio = await cpu_ratio(shown_as_objects, shown_as_rows, runs=5)

    assert (len(sent), ratio > 2) == (3, True), ratio


@confirms(RULE, "objects-only-to-show", limit=50)
async def a_statement_built_each_time_costs_more_than_one_built_once(postgres):
    """One order and its lines; the statements sent are the same."""
    once = select(Order).where(Order.id == bindparam("key")).options(joinedload(Order.lines))
    async with database(postgres.asyncpg, order_of("a", "b", "c")) as (engine, sessions):

        async def built_once():
            async with sessions() as session:
                return (await session.scalars(once, {"key": 1})).unique().one()

        async def built_each_time():
            query = select(Order).where(Order.id == 1).options(joinedload(Order.lines))
            async with sessions() as session:
                return (await session.scalars(query)).unique().one()

        with statements(engine) as sent:
            found = [await read() for read in (built_once, built_each_time)]
        assert [len(order.lines) for order in found] == [3, 3]
        ratio = await cpu_ratio(built_each_time, built_once)

    assert (len(set(sent)), ratio > 1.1) == (1, True), ratio
