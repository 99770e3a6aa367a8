"""What a revision leaves behind, and what the release before it cannot work with."""

import ast
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, keyword, parents

from subjects.locks import is_false
from subjects.newcolumns import column_of
from subjects.revisions import Revision, Step, on_postgresql
from subjects.sql import constant

_ENUMS = ("Enum", "ENUM")
_BORROWED = ("create_type", "native_enum")  # False where the table makes no type


def kept_types(module: Module) -> Iterator[tuple[ast.Call, str]]:
    """Enum types that `drop_table` leaves: the call in the downgrade, and the type's name."""
    bound = module.bindings(module.tree)
    ups, downs = (bound.get(each, [None])[0] for each in ("upgrade", "downgrade"))
    if not isinstance(ups, FUNCTIONS) or not isinstance(downs, FUNCTIONS):
        return
    if not on_postgresql(module) or _drops_types(downs):
        return
    dropped = {
        constant(module, call.args[0]): call
        for call in module.calls("alembic.op.drop_table")
        if call.args and downs in parents(call)
    }
    for name, tables in _types(module, ups).items():
        if tables <= set(dropped):
            yield max((dropped[each] for each in tables), key=lambda each: each.lineno), name


def _drops_types(function: ast.AST) -> bool:
    """Whether a downgrade drops a type, in SQL or by a method, or hands that to a helper."""
    for each in ast.walk(function):
        if isinstance(each, ast.Constant) and "DROP TYPE" in str(each.value).upper():
            return True
        if isinstance(each, ast.Call):
            if getattr(each.func, "attr", "") in ("drop", "drop_all"):
                return True
            if isinstance(each.func, ast.Name):
                return True
    return False


def _types(module: Module, upgrade: ast.AST) -> dict[str, set[str]]:
    """The named enum types that an upgrade creates with a table, and all tables that use them."""
    found: dict[str, set[str]] = {}
    made: set[str] = set()
    for call in module.calls("alembic.op.create_table"):
        table = constant(module, call.args[0]) if call.args and upgrade in parents(call) else None
        for each in ast.walk(call) if table else ():
            func = each.func if isinstance(each, ast.Call) else None
            if func is None or (module.name(func) or "").rpartition(".")[2] not in _ENUMS:
                continue
            name = keyword(each, "name")
            if not isinstance(name, ast.Constant):
                continue
            found.setdefault(str(name.value), set()).add(str(table))
            if each.args and not any(is_false(keyword(each, one)) for one in _BORROWED):
                made.add(str(name.value))
    return {name: tables for name, tables in found.items() if name in made}


def abrupt(module: Module, made: Revision) -> Iterator[tuple[ast.Call, str, str]]:
    """Steps that the release which is still running cannot work with."""
    for step in made.steps:
        if made.is_new(step.table):
            continue
        if step.operation == "add_column" and _is_required(step):
            column = column_of(step)
            name = constant(module, column.args[0]) if column and column.args else None
            yield (
                step.call,
                f"the running release does not write {name}, so its INSERT into {step.table} fails",
                "nullable=True here, NOT NULL in a later release",
            )
        elif step.operation == "alter_column" and keyword(step.call, "new_column_name"):
            old = constant(module, step.argument(1, "column_name"))
            yield (
                step.call,
                f"the running release still reads and writes {step.table}.{old}",
                "add the new column and write both, drop the old one in a later release",
            )


def _is_required(step: Step) -> bool:
    """Whether a new column is NOT NULL and the database has no value for it."""
    column = column_of(step)
    if column is None or not is_false(keyword(column, "nullable")):
        return False
    computed = any(
        getattr(each, "attr", getattr(each, "id", "")) in ("Computed", "Identity", "Sequence")
        for each in ast.walk(column)
    )
    given = keyword(column, "server_default")
    return not computed and (given is None or ast.unparse(given) == "None")
