"""What can be seen in code of rules/sqlalchemy/migrations.md."""

import ast
import re
from collections.abc import Iterable, Iterator

from checks import Report, check
from project.module import Module, keyword
from subjects import locks, newcolumns
from subjects.backfills import backfills
from subjects.bulk import early_copies, flushes, is_narrow, uneven, value_lists
from subjects.environments import revisions_say, unfinished, waiting_locks
from subjects.frozen import models
from subjects.history import is_recent
from subjects.releases import abrupt, kept_types
from subjects.revisions import autocommit, revision
from subjects.sql import NAME, constant, unquoted


def _in_history(module: Module, found: Iterable[Report]) -> Iterator[Report]:
    """What a revision does is told while it may still have to run somewhere."""
    reports = list(found)
    if reports and is_recent(module):
        yield from reports


@check("upgrade")
def short_locks(module: Module) -> Iterator[Report]:
    """An index, CHECK or unique constraint that a table in use waits for."""
    made = revision(module)
    for find in (locks.indexes, locks.uniques, locks.checks, newcolumns.indexed):
        yield from _in_history(module, (Report(*each) for each in find(module, made)))


@check("upgrade")
def foreign_keys_and_wider_types(module: Module) -> Iterator[Report]:
    """A foreign key without NOT VALID, and an `int` made a `bigint`."""
    made = revision(module)
    for find in (locks.foreign_keys, locks.wider, newcolumns.referring):
        yield from _in_history(module, (Report(*each) for each in find(module, made)))


@check("upgrade")
def set_not_null(module: Module) -> Iterator[Report]:
    """SET NOT NULL without a validated CHECK."""
    found = locks.not_null(module, revision(module))
    yield from _in_history(module, (Report(*each) for each in found))


@check("upgrade")
def backfill(module: Module) -> Iterator[Report]:
    """One UPDATE of a whole table."""
    found = backfills(module, revision(module))
    yield from _in_history(module, (Report(*each) for each in found))


@check("CONCURRENTLY", "concurrently")
def invalid_indexes(module: Module) -> Iterator[Report]:
    """CONCURRENTLY with IF NOT EXISTS accepts what a failed build left."""
    if b"indisvalid" in module.source:
        return  # the revision asks for itself
    yield from _in_history(module, _accepted(module))


def _accepted(module: Module) -> Iterator[Report]:
    made = revision(module)
    dropped = _dropped(module)
    message = "a build that failed leaves an invalid index, which IF NOT EXISTS accepts"
    for step in made.steps:
        given = [keyword(step.call, each) for each in ("postgresql_concurrently", "if_not_exists")]
        if step.operation != "create_index" or not all(map(locks.is_true, given)):
            continue
        name = constant(module, step.argument(0, "index_name"))
        if not name or unquoted(name) not in dropped:
            shown = ast.unparse(step.call.args[0]) if step.call.args else "..."
            yield Report(
                step.call,
                message,
                f"op.drop_index({shown}, postgresql_concurrently=True, if_exists=True) first, and"
                " no if_not_exists",
            )
    form = re.compile(rf"CREATE (?:UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS ({NAME})", re.I)
    for each in made.statements:
        found = form.match(each.text)
        if found and unquoted(found[1]) not in dropped:
            yield Report(
                each.call,
                message,
                f"DROP INDEX CONCURRENTLY IF EXISTS {found[1]} first, then"
                " CREATE INDEX CONCURRENTLY without IF NOT EXISTS",
            )


def _dropped(module: Module) -> set[str]:
    """The indexes that an upgrade drops."""
    made = revision(module)
    found: set[str] = set()
    for step in made.steps:
        if step.operation == "drop_index":
            found.add(unquoted(constant(module, step.argument(0, "index_name")) or ""))
    form = re.compile(rf"DROP INDEX (?:CONCURRENTLY )?(?:IF EXISTS )?({NAME})", re.I)
    for each in made.statements:
        found |= {unquoted(one[1]) for one in form.finditer(each.text)}
    return found


@check("configure", "run_sync")
def sql_before_configure(module: Module) -> Iterator[Report]:
    """A transaction that Alembic finds begun, and leaves to a caller who never commits it."""
    for call, connection, line in unfinished(module):
        yield Report(
            call,
            f"begins a transaction on {connection} that nobody commits, so no revision is stored",
            f"{line} before {connection} goes to Alembic",
        )


@check("pg_advisory_", "run_migrations")
def other_advisory_locks(module: Module) -> Iterator[Report]:
    """Locks of migrations that deadlock with CONCURRENTLY, or end too early."""
    for call, lock in waiting_locks(module):
        if lock == "pg_advisory_lock":
            message = "who waits in pg_advisory_lock deadlocks with CREATE INDEX CONCURRENTLY"
            sure = revisions_say(module, b"CONCURRENTLY") or revisions_say(module, b"concurrently")
        else:
            message = "pg_advisory_xact_lock ends at the first autocommit_block"
            sure = revisions_say(module, b"autocommit_block")
        yield Report(call, message, "poll pg_try_advisory_lock, with a pause between", not sure)


@check("upgrade")
def models_in_a_revision(module: Module) -> Iterator[Report]:
    """Models that select columns which later revisions add."""
    for alias, name, table in models(module):
        yield Report(
            alias,
            f"{name} has the columns of today's program, not those of this revision",
            f"{table.rpartition('.')[2]} = sa.table('{table}', sa.column(...))",
        )


@check("CONCURRENTLY", "concurrently", "ADD VALUE")
def steps_that_cannot_run_twice(module: Module) -> Iterator[Report]:
    """Steps of an `autocommit_block` that fail when the revision is repeated."""
    yield from _in_history(module, _repeated(module))


def _repeated(module: Module) -> Iterator[Report]:
    made = revision(module)
    dropped = _dropped(module)
    for step in made.steps:
        if step.operation != "create_index" or not autocommit(module, step.call):
            continue
        if locks.is_true(keyword(step.call, "if_not_exists")):
            continue
        name = constant(module, step.argument(0, "index_name"))
        if name and unquoted(name) not in dropped:
            yield Report(
                step.call,
                f"stands when the revision is repeated: {name} already exists",
                f"op.drop_index('{name}', postgresql_concurrently=True, if_exists=True) first",
            )
    for each in made.statements:
        if not autocommit(module, each.call):
            continue
        index = re.match(rf"CREATE (?:UNIQUE )?INDEX CONCURRENTLY ({NAME}) ON", each.text, re.I)
        value = re.match(r"(ALTER TYPE .* ADD VALUE) (?!IF NOT EXISTS)(.*)", each.text, re.I)
        if index and unquoted(index[1]) not in dropped:
            yield Report(
                each.call,
                f"stands when the revision is repeated: {index[1]} already exists",
                f"DROP INDEX CONCURRENTLY IF EXISTS {index[1]} first",
            )
        elif value:
            yield Report(
                each.call,
                "stands when the revision is repeated: the enum label already exists",
                f"{value[1]} IF NOT EXISTS {value[2]}",
            )


@check("downgrade")
def no_stairway_in_ci(module: Module) -> Iterator[Report]:
    """Enum types that stay after a downgrade, so that the next upgrade fails."""
    reports = (
        Report(
            call,
            f"leaves the enum type {name}, so the next upgrade fails: it already exists",
            f"sa.Enum(name='{name}').drop(op.get_bind()) after this line",
        )
        for call, name in kept_types(module)
    )
    yield from _in_history(module, reports)


@check("add_column", "new_column_name")
def one_release_for_all_steps(module: Module) -> Iterator[Report]:
    """Steps that break the release which runs while the migration does: places to look."""
    found = list(abrupt(module, revision(module)))
    if found and is_recent(module):
        yield from (Report(*each, True) for each in found)


@check("__table__")
def keys_of_the_first_row(module: Module) -> Iterator[Report]:
    """Rows of which the first decides which keys are stored."""
    for call, rows in uneven(module):
        into = call.args[0].args[0].value
        yield Report(
            call,
            "keys that the first row lacks are dropped from every row",
            f"{ast.unparse(call.func)}(insert({ast.unparse(into)}), {ast.unparse(rows)})"
            if isinstance(rows, ast.Name)
            else f"insert({ast.unparse(into)}) instead of its __table__",
        )


@check("values")
def one_values_list(module: Module) -> Iterator[Report]:
    """A statement with parameters for each row of a list."""
    for insert, given in value_lists(module):
        rows = ast.unparse(given) if isinstance(given, ast.Name) else "the list"
        yield Report(
            given,
            f"each row of {rows} adds parameters to one statement, which fails above 32,767",
            f"{ast.unparse(insert)} without values(), and {rows} as execute()'s second argument",
            is_narrow(module, given),
        )


@check("flush")
def objects_one_by_one(module: Module) -> Iterator[Report]:
    """A round trip for each object that a loop adds."""
    for call, added, read in flushes(module):
        yield Report(
            call,
            f"`{ast.unparse(added)}` is sent on its own, a round trip for each object",
            "one flush after the loop"
            if read
            else "flush once after the loop, or execute(insert(...), rows)",
            read,
        )


@check("copy_")
def import_(module: Module) -> Iterator[Report]:
    """COPY before the session's transaction has begun at the server."""
    for call in early_copies(module):
        yield Report(
            call,
            "no BEGIN has reached the driver yet, so a rollback leaves these rows",
            "execute a statement of the session first: CREATE TEMP TABLE ... ON COMMIT DROP",
        )
