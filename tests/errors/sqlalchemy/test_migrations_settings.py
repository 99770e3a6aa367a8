"""Texts of Alembic's settings, its env.py and the place it runs in."""

import traceback
from pathlib import Path

import alembic
from alembic import command, op
from alembic.config import Config
from sqlalchemy import text

from tests.errors.sqlalchemy.migrated import Project
from tests.harness.errors import produces

TEMPLATE = Path(alembic.__file__).parent / "templates/async"
INI = """
[alembic]
script_location = {folder}
sqlalchemy.url = {url}
"""


def started(folder: Path, url: str, location: str = "%(here)s/migrations") -> Config:
    """A project as `alembic init -t async` makes it, with an alembic.ini of our own."""
    (folder / "migrations/versions").mkdir(parents=True)
    env = (TEMPLATE / "env.py").read_text()
    # Its logging settings would silence the loggers of every other test.
    env = env.replace("fileConfig(config.config_file_name)", "pass")
    (folder / "migrations/env.py").write_text(env)
    (folder / "alembic.ini").write_text(INI.format(folder=location, url=url))
    return Config(folder / "alembic.ini")


@produces("sqlalchemy", "assert self._transaction is not None")
def sql_runs_before_configure(postgres, tmp_path, cured):
    """env.py sets a lock timeout first, and a revision needs to leave its transaction."""

    def upgrade():
        with op.get_context().autocommit_block():
            op.execute("SELECT 1")

    async def limit(connection):
        await connection.execute(text("SET lock_timeout = '2s'"))
        if cured:
            await connection.commit()

    project = Project(tmp_path, postgres, limit)
    project.revision("1", upgrade)
    try:
        project.upgrade()
    except AssertionError as error:
        return "".join(traceback.format_exception(error))


@produces("sqlalchemy", "No 'script_location' key found in configuration", where="alembic>=1.16")
def alembic_runs_without_its_file(tmp_path, cured):
    """The command runs in a folder that has no alembic.ini."""
    config = started(tmp_path, "sqlite+aiosqlite://")
    command.upgrade(config if cured else Config("alembic.ini"), "head")


@produces("sqlalchemy", "Please use the 'init' command to create a new scripts folder")
def alembic_runs_in_another_folder(tmp_path, cured):
    """The location of the scripts is relative to the folder where the command runs."""
    location = "%(here)s/migrations" if cured else "migrations"
    command.upgrade(started(tmp_path, "sqlite+aiosqlite://", location), "head")


@produces("sqlalchemy", "Can't load plugin: sqlalchemy.dialects:driver")
def the_templates_url_is_still_there(tmp_path, cured):
    """alembic.ini says what `alembic init` wrote."""
    url = "sqlite+aiosqlite://" if cured else "driver://user:pass@localhost/dbname"
    command.upgrade(started(tmp_path, url), "head")


@produces("sqlalchemy", "KeyError: 'url'")
def no_url_is_set(tmp_path, cured):
    """The URL was taken out of alembic.ini, and env.py does not set it."""
    config = started(tmp_path, "")
    config.file_config.remove_option("alembic", "sqlalchemy.url")
    if cured:
        config.set_main_option("sqlalchemy.url", "sqlite+aiosqlite://")
    command.upgrade(config, "head")


@produces("sqlalchemy", "invalid interpolation syntax in")
def a_password_holds_a_percent_sign(tmp_path, cured):
    """env.py hands a URL with an encoded password to the configuration."""
    config = started(tmp_path, "")
    url = "sqlite+aiosqlite:///file:p%40ss?mode=memory&uri=true"
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%") if cured else url)
    command.upgrade(config, "head")


@produces("sqlalchemy", "No support for ALTER of constraints in SQLite dialect")
def sqlite_is_altered(tmp_path, cured):
    """A revision adds a constraint to a table of SQLite."""

    def upgrade():
        op.execute("CREATE TABLE users (email TEXT)")
        if cured:
            with op.batch_alter_table("users") as batch:
                batch.create_unique_constraint("uq_email", ["email"])
        else:
            op.create_unique_constraint("uq_email", "users", ["email"])

    project = Project(tmp_path)
    project.revision("1", upgrade)
    project.upgrade()


@produces("sqlalchemy", "Constraint must have a name")
def a_constraint_of_a_batch_has_no_name(tmp_path, cured):
    """A revision as autogenerate wrote it names a constraint None."""

    def upgrade():
        op.execute("CREATE TABLE users (email TEXT)")
        with op.batch_alter_table("users") as batch:
            batch.create_unique_constraint("uq_email" if cured else None, ["email"])

    project = Project(tmp_path)
    project.revision("1", upgrade)
    project.upgrade()
