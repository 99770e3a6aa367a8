"""What Alembic executes: the template's async env.py, with `run` and the settings from the test."""

import asyncio

from alembic import context
from sqlalchemy import Connection

attributes = context.config.attributes


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, **attributes["configure"])
    with context.begin_transaction():
        context.run_migrations()


asyncio.run(attributes["run"](attributes["url"], migrate))
