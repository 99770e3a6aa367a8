"""Texts of tenants: row-level security, and the setting that its policies read."""

from uuid import uuid4

from sqlalchemy import func, select, text

from tests.errors.pooling.engines import engine_of, role_of
from tests.harness.errors import produces

ORDERS = (
    """
CREATE TABLE orders (id int, tenant uuid);
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE orders FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON orders
    USING (tenant = NULLIF(current_setting('app.tenant', true), '')::uuid);
"""
    ""
)


def use_tenant(tenant):
    return select(func.set_config("app.tenant", tenant, True))


@produces("pooling", "new row violates row-level security policy")
async def a_row_is_written_without_its_tenant(postgres, cured):
    """The tenant ended with a commit; the cure sets it again in the new transaction."""
    postgres.execute(ORDERS)
    tenant = str(uuid4())
    add = text(f"INSERT INTO orders VALUES (1, '{tenant}')")
    with role_of(postgres) as role:
        postgres.execute(f"GRANT USAGE ON SCHEMA public TO {role}; GRANT ALL ON orders TO {role}")
        async with engine_of(postgres) as engine, engine.connect() as connection:
            await connection.execute(text(f"SET ROLE {role}"))
            await connection.execute(use_tenant(tenant))
            await connection.commit()
            if cured:
                await connection.execute(use_tenant(tenant))
            await connection.execute(add)


@produces("pooling", 'invalid input syntax for type uuid: ""')
async def a_tenant_has_ended(postgres_database, cured):
    """A connection that had a tenant in an earlier transaction has an empty one."""
    tenant = "current_setting('app.tenant', true)"
    if cured:
        tenant = f"NULLIF({tenant}, '')"
    async with engine_of(postgres_database) as engine, engine.connect() as connection:
        await connection.execute(use_tenant(str(uuid4())))
        await connection.commit()
        assert await connection.scalar(text(f"SELECT {tenant}::uuid")) is None


@produces("pooling", "unrecognized configuration parameter")
async def a_tenant_was_never_set(postgres_database, cured):
    """A setting is read that nobody has set on this connection."""
    query = text(f"SELECT current_setting('app.tenant'{', true' if cured else ''})")
    async with engine_of(postgres_database) as engine, engine.connect() as connection:
        assert await connection.scalar(query) is None
