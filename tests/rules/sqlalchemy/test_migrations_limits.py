"""What sqlalchemy/migrations promises of the limit, of a repeated revision, and of PgBouncer."""

import pytest
import sqlalchemy as sa
from alembic import op
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from tests.harness import confirms, correct
from tests.rules.sqlalchemy.alembic_project import project, upgrade
from tests.servers.pgbouncer import pgbouncer

RULE = "sqlalchemy/migrations"
ORDERS = "CREATE TABLE orders (id serial PRIMARY KEY, sku text, total int)"
FAIL = "DO $$ BEGIN RAISE EXCEPTION 'once' USING ERRCODE = '55P03'; END $$"
LIMIT = "SHOW lock_timeout"


@confirms(RULE, "steps-that-cannot-run-twice")
async def the_revision_after_an_index_build_is_bounded_again(postgres):
    """The block that lifts the limit gives back the one of env.py, not the server's endless one."""
    postgres.execute(ORDERS)
    limits = []

    def after():
        limits.append(op.get_bind().scalar(text(LIMIT)))

    await upgrade(project(postgres, correct(RULE, "short-locks").upgrade, after))

    assert limits == ["500ms"]


@confirms(RULE, "steps-that-cannot-run-twice")
async def what_stands_before_the_block_is_kept_too(postgres):
    """Entering the block commits the revision so far, so its first step meets itself again."""
    postgres.execute(ORDERS)
    tried = []

    def change():
        tried.append(1)
        op.add_column("orders", sa.Column("note", sa.Text))
        with op.get_context().autocommit_block():
            if len(tried) == 1:
                op.execute(FAIL)

    with pytest.raises(ProgrammingError, match='column "note" of relation "orders" already exists'):
        await upgrade(project(postgres, change))


@confirms(RULE, "other-advisory-locks")
async def through_pgbouncer_the_limit_stays_for_other_clients(postgres):
    """In transaction mode what env.py sets is found by the next client, also after its end."""
    with pgbouncer(postgres, default_pool_size=1) as bouncer:
        await upgrade(project(bouncer))
        limit = bouncer.execute(LIMIT)
        held = bouncer.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database"
            " WHERE locktype = 'advisory' AND objid = 72 AND datname = current_database()"
        )

    assert (limit, held) == ([("500ms",)], [(1,)])
