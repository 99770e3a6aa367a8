"""What pooling/database says of a tenant: when it ends, and whom policies bind."""

from contextlib import asynccontextmanager, contextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import async_sessionmaker

from tests.harness import confirms, correct
from tests.rules.pooling.test_database_settings import ONE, SELECT, engine_of, query

RULE = "pooling/database"
TENANT = text("SELECT current_setting('app.tenant', true)")


def use_tenant():
    return correct(RULE, "tenant-inside-the-transaction").use_tenant


@asynccontextmanager
async def session_of(postgres, **options):
    """A session on an engine of its own."""
    async with (
        engine_of(postgres.asyncpg, **options, **ONE) as engine,
        async_sessionmaker(engine)() as session,
    ):
        yield session


async def after_commit(session, use):
    await use(session, "alice")
    await session.commit()


async def after_rollback(session, use):
    await use(session, "alice")
    await session.rollback()


async def after_savepoint(session, use):
    savepoint = await session.begin_nested()
    await use(session, "alice")
    await savepoint.rollback()


async def before_savepoint(session, use):
    await use(session, "alice")
    savepoint = await session.begin_nested()
    await session.execute(SELECT)
    await savepoint.rollback()


async def again_after_commit(session, use):
    await after_commit(session, use)
    await use(session, "alice")


@confirms(RULE, "tenant-set-once")
@pytest.mark.parametrize(
    ("work", "left"),
    [
        (after_commit, ""),
        (after_rollback, ""),
        (after_savepoint, ""),
        (before_savepoint, "alice"),
        (again_after_commit, "alice"),
    ],
)
async def a_tenant_ends_with_its_transaction_or_savepoint(work, left, postgres):
    """Set again after the next begin, or before the savepoint, it is there."""
    async with (
        engine_of(postgres.asyncpg, **ONE) as engine,
        async_sessionmaker(engine)() as session,
    ):
        await work(session, use_tenant())

        assert await session.scalar(TENANT) == left


@contextmanager
def policy(postgres):
    """A table of two tenants' orders with a policy, and the names of its owner and of another."""
    name = postgres.url.rpartition("/")[2]
    owner, other = f"{name}_owner", f"{name}_other"
    postgres.execute(f"""
        CREATE ROLE {owner}; CREATE ROLE {other};
        CREATE TABLE orders (tenant text, sku text);
        INSERT INTO orders VALUES ('alice', 'a'), ('bob', 'b');
        ALTER TABLE orders OWNER TO {owner};
        GRANT USAGE ON SCHEMA public TO {owner}, {other};
        GRANT SELECT ON orders TO {other};
        ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
        CREATE POLICY own ON orders USING (tenant = current_setting('app.tenant', true))
    """)
    try:
        yield owner, other
    finally:
        postgres.execute(f"DROP OWNED BY {owner}, {other} CASCADE; DROP ROLE {owner}, {other}")


async def seen_by(postgres, settings, table="orders"):
    """What alice's session reads where the service connects with these settings."""
    async with session_of(postgres, connect_args={"server_settings": settings}) as session:
        await use_tenant()(session, "alice")
        return list(await session.scalars(text(f"SELECT sku FROM {table} ORDER BY sku")))


@confirms(RULE, "row-level-security-for-the-owner")
async def a_policy_binds_no_owner_and_no_superuser(postgres):
    """FORCE binds the owner; another role is bound anyway, a superuser never."""
    with policy(postgres) as (owner, other):
        roles = {"owner": {"role": owner}, "other": {"role": other}, "superuser": {}}
        enabled = {role: await seen_by(postgres, settings) for role, settings in roles.items()}
        postgres.execute("ALTER TABLE orders FORCE ROW LEVEL SECURITY")
        forced = {role: await seen_by(postgres, settings) for role, settings in roles.items()}

    assert enabled == {"owner": ["a", "b"], "other": ["a"], "superuser": ["a", "b"]}
    assert forced == {"owner": ["a"], "other": ["a"], "superuser": ["a", "b"]}


@confirms(RULE, "row-level-security-for-the-owner")
async def a_policy_binds_no_member_no_bypass_and_no_reader_of_the_owners_view(postgres):
    """FORCE binds the member and the view, and an UPDATE of the owner's without a tenant."""
    update = text("UPDATE orders SET sku = sku RETURNING sku")
    found = []
    with policy(postgres) as (owner, other):
        postgres.execute(f"""
            CREATE VIEW listed AS SELECT * FROM orders; ALTER VIEW listed OWNER TO {owner};
            GRANT SELECT ON listed TO {other}
        """)
        for force in "NO FORCE", "FORCE":
            postgres.execute(f"ALTER TABLE orders {force} ROW LEVEL SECURITY")
            postgres.execute(f"ALTER ROLE {other} BYPASSRLS")
            bypass = await seen_by(postgres, {"role": other})
            postgres.execute(f"ALTER ROLE {other} NOBYPASSRLS")
            view = await seen_by(postgres, {"role": other}, "listed")
            postgres.execute(f"GRANT {owner} TO {other}")
            member = await seen_by(postgres, {"role": other})
            postgres.execute(f"REVOKE {owner} FROM {other}")
            async with session_of(
                postgres, connect_args={"server_settings": {"role": owner}}
            ) as session:
                backfill = list(await session.scalars(update))
            found.append((bypass, view, member, len(backfill)))

    assert found == [(["a", "b"], ["a", "b"], ["a", "b"], 2), (["a", "b"], ["a"], ["a"], 0)]


@confirms(RULE, "state-across-requests")
async def a_policy_that_casts_raises_where_a_tenant_ended(postgres):
    """The first to ask reads NULL, the next an empty string, which is no uuid."""
    setting = "current_setting('app.tenant', true)"
    async with engine_of(postgres.asyncpg, **ONE) as engine:
        found = [await query(engine, TENANT)]
        async with async_sessionmaker(engine).begin() as session:
            await use_tenant()(session, "alice")
        found.append(await query(engine, TENANT))
        with pytest.raises(DBAPIError, match="invalid input syntax for type uuid"):
            await query(engine, text(f"SELECT ({setting})::uuid"))
        found.append(await query(engine, text(f"SELECT NULLIF({setting}, '')::uuid")))

    assert found == [None, "", None]
