"""Texts of queries over mapped classes."""

from sqlalchemy import func, select

from tests.errors.sqlalchemy.shop import Item, Line, Order
from tests.harness.errors import produces


@produces("sqlalchemy", "Boolean value of this clause is not defined")
def a_query_uses_pythons_and(cured):
    """Two conditions are joined by a word that Python evaluates itself."""
    if cured:
        select(Item).where(Item.n > 1, Item.name == "apple")
    else:
        select(Item).where(Item.n > 1 and Item.name == "apple")


@produces("sqlalchemy", "or other columns clause element expected, got")
def a_query_selects_a_list(cured):
    """Columns are selected as SQLAlchemy 1.x wanted them."""
    columns = [Item.id, Item.name]
    select(*columns) if cured else select(columns)


@produces("sqlalchemy", "Neither 'InstrumentedAttribute' object nor 'Comparator' object")
def a_query_reaches_through_a_relationship(cured):
    """A condition names a column of the related class by way of the relationship."""
    if cured:
        select(Line).where(Line.order.has(Order.id == 1))
        select(Line).join(Line.order).where(Order.id == 1)
    else:
        select(Line).where(Line.order.id == 1)


@produces("sqlalchemy", "not implemented for scalar attributes")
def a_reference_is_asked_for_any(cured):
    """A many-to-one is filtered by the method of collections."""
    condition = Order.id == 1
    select(Line).where(Line.order.has(condition) if cured else Line.order.any(condition))


@produces("sqlalchemy", "SELECT statement has a cartesian product between FROM element(s)")
async def a_query_names_a_table_it_does_not_join(shop, cured):
    """A condition is about lines, and nothing ties them to the orders that are selected."""
    query = select(Order).where(Line.id == 1)
    async with shop.sessions() as sessions, sessions() as session:
        await session.scalars(query.join(Order.lines) if cured else query)


@produces("sqlalchemy", "Don't know how to join to")
def a_query_joins_what_nothing_links(cured):
    """Two classes are joined without a relationship or a condition."""
    query = select(Item)
    str(query.join(Order, Order.id == Item.n) if cured else query.join(Order))


@produces("sqlalchemy", "expressions must appear in select list")
async def duplicates_of_a_join_are_removed(shop, cured):
    """DISTINCT is to undo what a join repeats, in an order by the joined table."""
    query = select(Order).join(Order.lines).distinct().order_by(Line.id)
    if cured:
        query = select(Order).where(Order.lines.any()).order_by(Order.id)
    async with shop.sessions() as sessions, sessions() as session:
        await session.scalars(query)


@produces("sqlalchemy", "must appear in the GROUP BY clause or be used in an aggregate function")
async def a_column_stands_beside_a_count(shop, cured):
    """The rows are grouped by the child's column, and the parent's are selected."""
    query = select(Order.id, func.count(Line.id)).join(Order.lines)
    async with shop.sessions() as sessions, sessions() as session:
        await session.execute(query.group_by(Order.id if cured else Line.order_id))
