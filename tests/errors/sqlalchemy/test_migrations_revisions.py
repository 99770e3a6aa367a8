"""Texts of Alembic's revisions, its version table and its comparison with the models."""

import sqlite3

import sqlalchemy as sa
from alembic import command, op

from tests.errors.sqlalchemy.migrated import Project, users
from tests.harness.errors import produces


def create_users() -> None:
    op.create_table("users", sa.Column("id", sa.Integer, primary_key=True))


@produces("sqlalchemy", "Multiple head revisions are present for given argument 'head'")
def two_branches_are_upgraded(tmp_path, cured):
    """Two merged branches brought a revision each, after the same one."""
    project = Project(tmp_path)
    project.revision("1")
    project.revision("2", after="1")
    project.revision("3", after="1")
    if cured:
        command.merge(project.config, "heads", message="merge")
        merged = next(path for path in project.versions.glob("*_merge.py"))
        assert "Revises: 2, 3" in merged.read_text()
    project.upgrade()


@produces("sqlalchemy", "Multiple heads are present; please specify the head revision")
def a_revision_is_added_to_two_branches(tmp_path, cured):
    """A new revision is wanted, and two could be before it."""
    project = Project(tmp_path)
    project.revision("1")
    project.revision("2", after="1")
    project.revision("3", after="2" if cured else "1")
    command.revision(project.config, "next")


@produces("sqlalchemy", "Can't locate revision identified by")
def a_database_is_ahead_of_the_code(tmp_path, cured):
    """The database was upgraded from another branch, whose revision this code does not have."""
    project = Project(tmp_path)
    project.revision("1")
    path = project.revision("2", after="1")
    project.upgrade()
    path.unlink()
    if cured:
        command.stamp(project.config, "1", purge=True)
    project.upgrade()


@produces("sqlalchemy", "UserWarning: Revision")
def a_revision_follows_a_file_that_is_gone(tmp_path, cured):
    """A revision was deleted, and the one after it still names it."""
    project = Project(tmp_path)
    project.revision("1")
    project.revision("3", after="1" if cured else "2")
    project.upgrade()


@produces("sqlalchemy", "overlaps with other requested revisions")
def a_database_holds_a_revision_and_its_ancestor(tmp_path, cured):
    """Somebody inserted a row into the version table by hand."""
    project = Project(tmp_path)
    project.revision("1")
    project.revision("2", after="1")
    project.revision("3", after="2")
    project.upgrade("2")
    with sqlite3.connect(tmp_path / "app.db") as connection:
        connection.execute("INSERT INTO alembic_version VALUES ('1')")
    connection.close()
    if cured:
        command.stamp(project.config, "2", purge=True)
    project.upgrade()


@produces("sqlalchemy", "Target database is not up to date")
def a_revision_is_generated_from_an_old_database(tmp_path, cured):
    """The models are compared with a database that lacks the last revision."""
    project = Project(tmp_path, target_metadata=users())
    project.revision("1", create_users)
    if cured:
        project.upgrade()
    command.revision(project.config, "next", autogenerate=True)


@produces("sqlalchemy", "does not provide a MetaData object")
def a_revision_is_generated_from_no_models(tmp_path, cured):
    """Autogenerate runs with the template's env.py, which knows no models."""
    project = Project(tmp_path, target_metadata=users() if cured else None)
    command.revision(project.config, "next", autogenerate=True)


@produces("sqlalchemy", "New upgrade operations detected")
def the_models_are_ahead_of_the_revisions(tmp_path, cured):
    """A table is in the models and in no revision."""
    project = Project(tmp_path, target_metadata=users())
    if cured:
        project.revision("1", create_users)
        project.upgrade()
    command.check(project.config)


@produces("sqlalchemy", "Detected removed table")
def a_module_of_models_is_not_imported_by_env(tmp_path, cured):
    """Autogenerate compares a database with models of which env.py has imported none."""
    metadata = users() if cured else sa.MetaData()
    project = Project(tmp_path, target_metadata=metadata)
    project.revision("1", create_users)
    project.upgrade()
    command.revision(project.config, "next", autogenerate=True)
