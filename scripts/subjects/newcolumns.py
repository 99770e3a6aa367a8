"""New columns of a table in use that bring an index, a unique constraint or a foreign key."""

import ast
from collections.abc import Iterator

from project.module import Module, keyword

from subjects.locks import Blocking, is_true
from subjects.revisions import Revision, Step
from subjects.sql import constant

_KEYS = ("sqlalchemy.ForeignKey", "sqlalchemy.schema.ForeignKey")


def column_of(step: Step) -> ast.Call | None:
    """The column that an `add_column` is given."""
    position = 0 if step.batch else 1
    given = step.call.args[position] if len(step.call.args) > position else None
    return given if isinstance(given, ast.Call) else None


def indexed(module: Module, made: Revision) -> Iterator[Blocking]:
    """An index or a unique constraint that Alembic builds right after it has added the column."""
    for step, column, name in _added(module, made):
        given = {each: keyword(column, each) for each in ("unique", "index")}
        word = next((each for each, value in given.items() if is_true(value)), None)
        if word is None:
            continue
        index = f"ix_{step.table}_{name}" if word == "index" else f"uq_{step.table}_{name}"
        more = "" if word == "index" else ", unique=True"
        yield (
            step.call,
            f"readers and writers of {step.table} wait while the index of {name} is built",
            f"no {word}=True here, but op.create_index('{index}', '{step.table}', ['{name}']{more},"
            " postgresql_concurrently=True) in an autocommit_block()",
        )


def referring(module: Module, made: Revision) -> Iterator[Blocking]:
    """A foreign key that Alembic adds, and PostgreSQL checks, right after the column is there."""
    for step, column, name in _added(module, made):
        if keyword(step.call, "inline_references") is not None:
            continue
        for key in column.args:
            if not isinstance(key, ast.Call) or module.name(key.func) not in _KEYS or not key.args:
                continue
            table, _, target = (constant(module, key.args[0]) or "").rpartition(".")
            if table and not made.is_new(table):
                schema, _, short = table.rpartition(".")
                far = f", referent_schema='{schema}'" if schema else ""
                yield (
                    step.call,
                    f"readers and writers of {step.table} wait while its rows are checked",
                    f"no ForeignKey here, but op.create_foreign_key('fk_{step.table}_{name}',"
                    f" '{step.table}', '{short}', ['{name}'], ['{target}']{far},"
                    " postgresql_not_valid=True), then VALIDATE CONSTRAINT in a transaction of its"
                    " own",
                )


def _added(module: Module, made: Revision) -> Iterator[tuple[Step, ast.Call, str]]:
    """The columns added to tables in use: the step, the column, its name."""
    for step in made.steps:
        if step.operation != "add_column" or made.is_new(step.table):
            continue
        column = column_of(step)
        name = constant(module, column.args[0]) if column and column.args else None
        if column is not None and name:
            yield step, column, name
