"""Relationships that a loop loads row by row, through `awaitable_attrs`."""

import ast
from collections.abc import Iterator

from project.module import COMPREHENSIONS, FUNCTIONS, Module, function_of, parents

from subjects.sql import held

_LOADERS = ("selectinload", "joinedload", "subqueryload", "contains_eager", "immediateload")


def awaited(module: Module) -> Iterator[tuple[ast.Await, str, str, bool]]:
    """Loads by a loop: the await, the row, the relationship, whether a query gave the rows."""
    for node in module.all(ast.Attribute):
        holder = getattr(node.parent, "parent", None)
        if node.attr != "awaitable_attrs" or not isinstance(holder, ast.Await):
            continue
        name = node.parent.attr
        row = getattr(node.value, "id", None)
        over = _iterated(node, row) if row is not None else None
        if over is not None and not _is_loaded(node, name):
            yield holder, row, name, _is_queried(module, over)


def _iterated(node: ast.AST, row: str) -> ast.expr | None:
    """What a loop around a node takes the values of `row` from."""
    for above in parents(node):
        if isinstance(above, ast.For | ast.AsyncFor):
            if row in _names(above.target):
                return above.iter
        elif isinstance(above, COMPREHENSIONS):
            for each in above.generators:
                if row in _names(each.target):
                    return each.iter
        elif isinstance(above, FUNCTIONS):
            return None
    return None


def _is_queried(module: Module, over: ast.expr) -> bool:
    """Whether the result of a query is iterated, as far as the function shows."""
    value = held(module, over) if isinstance(over, ast.Name) else over
    ran = {"scalars", "execute", "exec", "stream_scalars", "all", "fetchall"}
    return value is not None and any(
        isinstance(each, ast.Attribute) and each.attr in ran for each in ast.walk(value)
    )


def _names(target: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(target) if isinstance(each, ast.Name)}


def _is_loaded(node: ast.AST, name: str) -> bool:
    """Whether the function names a loader of this relationship."""
    function = function_of(node)
    for each in ast.walk(function) if function is not None else ():
        if isinstance(each, ast.Call):
            called = getattr(each.func, "id", getattr(each.func, "attr", ""))
            if called in _LOADERS and any(getattr(one, "attr", "") == name for one in each.args):
                return True
    return False
