"""An Alembic project of a test's own: an async env.py, and revisions that are functions."""

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import alembic
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.servers.postgres import Database

MAKO = Path(alembic.__file__).parent / "templates/async/script.py.mako"
ENV = """
import asyncio

from alembic import context
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import create_async_engine

given = context.config.attributes


def migrate(connection):
    context.configure(connection=connection, transaction_per_migration=True, **given["options"])
    with context.begin_transaction():
        context.run_migrations()


async def main():
    engine = create_async_engine(given["url"], poolclass=NullPool)
    async with engine.connect() as connection:
        await given["before"](connection)
        await connection.run_sync(migrate)


asyncio.run(main())
"""
REVISION = """
from alembic import context

revision = {name!r}
down_revision = {after!r}


def upgrade():
    context.config.attributes["upgrades"][revision]()


def downgrade():
    context.config.attributes["downgrades"][revision]()
"""


def nothing() -> None:
    """A revision that changes nothing."""


async def nothing_before(connection: AsyncConnection) -> None:
    """An env.py that configures Alembic first."""


class Project:
    """Its commands run here and now, on PostgreSQL or on a file of SQLite.

    `before` gets the connection ahead of `context.configure`, to which `options` go.
    """

    def __init__(
        self,
        folder: Path,
        database: Database | None = None,
        before: Callable[[AsyncConnection], Awaitable[None]] = nothing_before,
        **options: Any,
    ) -> None:
        self.versions = folder / "versions"
        self.versions.mkdir()
        (folder / "env.py").write_text(ENV)
        shutil.copy(MAKO, folder)
        self.url = database.asyncpg if database else f"sqlite+aiosqlite:///{folder}/app.db"
        self.config = Config()
        self.config.set_main_option("script_location", str(folder))
        self.config.attributes |= {"url": self.url, "before": before, "options": options}
        self.config.attributes |= {"upgrades": {}, "downgrades": {}}

    def revision(
        self,
        name: str,
        upgrade: Callable[[], None] = nothing,
        after: str | None = None,
        downgrade: Callable[[], None] = nothing,
    ) -> Path:
        """Write a revision's file."""
        path = self.versions / f"{name}.py"
        path.write_text(REVISION.format(name=name, after=after))
        self.config.attributes["upgrades"][name] = upgrade
        self.config.attributes["downgrades"][name] = downgrade
        return path

    def upgrade(self, to: str = "head") -> None:
        command.upgrade(self.config, to)


def migrate(folder: Path, database: Database | None, upgrade: Callable[[], None]) -> None:
    """Upgrade a database by a project of one revision."""
    project = Project(folder, database)
    project.revision("1", upgrade)
    project.upgrade()


def users() -> sa.MetaData:
    """Models of an application: one table."""
    metadata = sa.MetaData()
    sa.Table("users", metadata, sa.Column("id", sa.Integer, primary_key=True))
    return metadata
