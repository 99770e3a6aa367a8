"""Statements of a revision that change rows of a table that is in use."""

import ast
import re
from collections.abc import Iterator

from project.module import COMPREHENSIONS, FUNCTIONS, Module, keyword, parents

from subjects.newcolumns import column_of
from subjects.revisions import Revision
from subjects.sql import NAME, constant, held, unquoted

_UPDATE = re.compile(rf"UPDATE (?:ONLY )?({NAME}) (?:(?:AS )?\w+ )?SET (.*)", re.IGNORECASE)
_TABLES = ("sqlalchemy.table", "sqlalchemy.Table", "sqlalchemy.sql.table")
_PART = re.compile(r"\bLIMIT\b|\bBETWEEN\b|\bTABLESAMPLE\b|\bctid\b|(?<!:):[a-z_]\w*|%\(|%s", re.I)
_NULLS = re.compile(rf"\(?{NAME} IS (?:NOT )?NULL\)?(?: AND \(?{NAME} IS (?:NOT )?NULL\)?)*", re.I)
_CONSTANT = re.compile(
    rf"({NAME}) = ('(?:[^']|'')*'(?:::\w+)?|-?[\d.]+|TRUE|FALSE)(?: WHERE \(?\1 IS NULL\)?)?", re.I
)
_EACH = "for each batch of keys, in an autocommit_block()"
_OF_SERVER = re.compile(r"alembic_version|pg_\w+|information_schema", re.IGNORECASE)


def backfills(module: Module, made: Revision) -> Iterator[tuple[ast.Call, str, str, bool]]:
    """Updates by one statement: the call, what happens there, the cure, whether it is a hint."""
    for each in made.statements:
        found = _UPDATE.match(each.text)
        if not found or _OF_SERVER.search(found[1]) or made.is_new(found[1]):
            continue
        if _in_loop(each.call) or _PART.search(each.text) or _changes_none(made, *found.groups()):
            continue
        cure = _defaulted(made, found[1], found[2]) or (
            f"{each.text[: found.start(2)]}... WHERE id BETWEEN :first AND :last {_EACH}"
        )
        yield each.call, _message(found[1]), cure, not _whole(found[2])
    for call in made.executed:
        updated = _updated(module, call.args[0])
        if updated and not made.is_new(updated[0]) and not _in_loop(call):
            cure = f".where({updated[0]}.c.id.between(first, last)) {_EACH}"
            yield call, _message(updated[0]), cure, updated[1]


def _defaulted(made: Revision, table: str, rest: str) -> str | None:
    """The default that a new column could have had from the start, instead of an UPDATE."""
    found = _CONSTANT.fullmatch(rest.strip())
    for step in made.steps if found else ():
        column = column_of(step) if step.operation == "add_column" else None
        named = getattr(column.args[0], "value", None) if column and column.args else None
        if named == unquoted(found[1]) and unquoted(step.table or "") == unquoted(table):
            default = f"server_default=sa.text({found[2]!r})"
            return f"{default} in its add_column, dropped later, and no UPDATE"
    return None


def _changes_none(made: Revision, table: str, rest: str) -> bool:
    """Whether it asks for the NULLs of a column that the upgrade added with a value in each row."""
    found = re.search(rf"\bWHERE \(?({NAME}) IS NULL\)?$", rest.strip(" ;"), re.IGNORECASE)
    for step in made.steps if found else ():
        column = column_of(step) if step.operation == "add_column" else None
        named = getattr(column.args[0], "value", None) if column and column.args else None
        if named == unquoted(found[1]) and unquoted(step.table or "") == unquoted(table):
            return keyword(column, "server_default") is not None
    return False


def _message(table: str) -> str:
    return f"every row of {unquoted(table)} that it changes stays locked until the last is done"


def _whole(rest: str) -> bool:
    """Whether no WHERE, or one that only asks for NULL, chooses the rows."""
    where = re.search(r"\bWHERE\b(.*)", rest, re.IGNORECASE)
    return where is None or bool(_NULLS.fullmatch(where[1].strip()))


def _updated(module: Module, node: ast.AST) -> tuple[str, bool] | None:
    """The table of `update(table)` or `table.update()`, and whether it has a `where`."""
    chosen = False
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in ("where", "filter", "filter_by"):
            chosen = True
        if node.func.attr == "update" and (table := _table(module, node.func.value)):
            return table, chosen
        if module.name(node.func) == "sqlalchemy.update":
            break
        node = node.func.value
    if isinstance(node, ast.Call) and module.name(node.func) == "sqlalchemy.update" and node.args:
        table = _table(module, node.args[0])
        return (table, chosen) if table else None
    return None


def _table(module: Module, node: ast.AST) -> str | None:
    """The name of a table made by `sa.table("orders", ...)` or `sa.Table("orders", ...)`."""
    if isinstance(node, ast.Name):
        node = held(module, node)
    made = isinstance(node, ast.Call) and node.args and module.name(node.func) in _TABLES
    return constant(module, node.args[0]) if made else None


def _in_loop(call: ast.Call) -> bool:
    for above in parents(call):
        if isinstance(above, (ast.For, ast.While, *COMPREHENSIONS)):
            return True
        if isinstance(above, FUNCTIONS):
            return False
    return False
