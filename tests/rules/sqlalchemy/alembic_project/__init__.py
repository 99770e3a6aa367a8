"""An Alembic project with an async env.py, whose two revisions do what a test tells them to."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from tests.harness import correct
from tests.servers.postgres import Database

HERE = Path(__file__).parent
Step = Callable[[], None]
Run = Callable[[str, Callable[[Connection], None]], Awaitable[None]]


def nothing() -> None:
    """A revision that changes nothing."""


def settled(pause: float = 0.1, tries: int = 60, limit: str = "500ms") -> Run:
    """The rule's own `run` with other settings; the pause it teaches is too long for most tests."""
    half = correct("sqlalchemy/migrations", "sql-before-configure")
    assert half.PAUSE, "the page names its pause otherwise now"
    assert half.TRIES
    assert half.LIMIT.text == "SET lock_timeout = '500ms'"
    half.PAUSE, half.TRIES = pause, tries
    half.LIMIT = text(f"SET lock_timeout = '{limit}'")
    run: Run = half.run
    return run


def project(
    database: Database | str,
    first: Step = nothing,
    second: Step = nothing,
    *,
    down: Step = nothing,
    run: Run | None = None,
    folder: Path = HERE,
    **configure: Any,
) -> Config:
    """A project whose revisions `1` and `2` call `first` and `second`; `down` takes `1` back.

    Its env.py is the rule's own, with short pauses, unless `run` is given; `configure` goes to
    `context.configure`.
    """
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.attributes |= {
        "url": database.asyncpg if isinstance(database, Database) else database,
        "run": run or settled(),
        "configure": {"transaction_per_migration": True} | configure,
        "upgrades": {"1": first, "2": second},
        "downgrades": {"1": down, "2": nothing},
    }
    return config


async def upgrade(config: Config, revision: str = "heads") -> None:
    """Run the upgrade in a thread, as env.py starts an event loop of its own."""
    await asyncio.to_thread(command.upgrade, config, revision)


@asynccontextmanager
async def upgrading(config: Config, database: Database) -> AsyncGenerator[asyncio.Task[None], None]:
    """Run the upgrade beside the block; end it by force where the block leaves it waiting."""
    task = asyncio.create_task(upgrade(config))
    try:
        yield task
    finally:
        if not task.done():
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await asyncio.wait({task}, timeout=5)
        if task.done() and not task.cancelled():
            task.exception()  # the block has seen it, or fails by itself
