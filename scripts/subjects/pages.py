"""Queries that return a page of rows: what orders them, what joins them, what loads with them."""

import ast
import re
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, function_of, own

from subjects.mappings import Relationship, relationship

EAGER = "sqlalchemy.orm.contains_eager"
JOINED = "sqlalchemy.orm.joinedload"
_KEY = re.compile(r"(?:^|[_.])(?:id|pk|uuid|key|seq|sequence|number|slug|name|hash|offset)$|_id$")
_CURSOR = re.compile(r"\b\w*(?:last|cursor|after|before|marker|anchor|token)\w*\b", re.IGNORECASE)
_SURE = re.compile(r"\b\w*(?:last|cursor|marker|anchor|token)\w*\b", re.IGNORECASE)
_NOT_CURSOR = re.compile(
    r"timedelta|utcnow|now\(|expir|cutoff|threshold|max_age|retention|week|month|days|year|hour|minute"
)
_PLURAL = re.compile(r"(?:[^s]s|[^s]ses|children)$")
_WHERE = ("where", "filter")


def chain(node: ast.AST) -> Iterator[ast.Call]:
    """The method calls of `a.b(...).c(...)`, the last first."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        yield node
        node = node.func.value


def root(node: ast.AST) -> ast.AST:
    """What a chain of method calls begins with: a name, or a plain call."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if isinstance(node.func.value, ast.Name) and node.func.attr in ("select", "query"):
            break
        node = node.func.value
    return node


def statements(module: Module, function: ast.AST) -> Iterator[list[ast.Call]]:
    """The calls that build each query of a function, in the order of the source.

    A query is one chain, or all the chains that begin with or are assigned to one variable.
    """
    named: dict[str, list[ast.Call]] = {}
    for call in own(function):
        outer = isinstance(getattr(call, "parent", None), ast.Attribute) and call.slot == "value"
        if not isinstance(call, ast.Call) or (outer and isinstance(call.parent.parent, ast.Call)):
            continue
        calls = list(chain(call))[::-1]
        first = root(call)
        target = call.parent.targets[0] if isinstance(call.parent, ast.Assign) else None
        if isinstance(target, ast.Name) and calls:
            named.setdefault(target.id, []).extend(calls)
        elif isinstance(first, ast.Name) and calls and first.id in named:
            named[first.id].extend(calls)
        elif calls:
            yield calls
    yield from named.values()


def partial(module: Module) -> Iterator[tuple[ast.expr, ast.expr]]:
    """A LIMIT on a query whose joined collection is loaded: the limit, the collection."""
    for function in _functions(module, EAGER):
        for calls in statements(module, function):
            limits = [each for each in calls if each.func.attr == "limit"]
            joins = {
                ast.unparse(each.args[0])
                for each in calls
                if each.func.attr in ("join", "outerjoin") and each.args
            }
            for each in calls if limits else ():
                for loader in each.args if each.func.attr == "options" else ():
                    path = _first(module, loader, EAGER)
                    if path is not None and _is_collection(module, path, joins):
                        yield (limits[-1].args or limits)[-1], path


def _first(module: Module, loader: ast.expr, name: str) -> ast.expr | None:
    """The first relationship of a loader of this name."""
    inner = loader
    while isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
        if module.name(inner.func) == name:
            break
        inner = inner.func.value
    called = isinstance(inner, ast.Call) and module.name(inner.func) == name
    return inner.args[0] if called and len(inner.args) == 1 else None


def _is_collection(module: Module, path: ast.expr, joins: set[str]) -> bool:
    found = _declared(module, path)
    if found is not None and found.many is not None:
        return found.many
    return isinstance(path, ast.Name) and path.id in joins and bool(_PLURAL.search(path.id))


def _declared(module: Module, path: ast.expr) -> Relationship | None:
    """The relationship that `Order.lines` names."""
    if not isinstance(path, ast.Attribute):
        return None
    return relationship(module, module.name(path.value), path.attr)


def _functions(module: Module, *names: str) -> list[ast.AST]:
    """The functions in which calls of these names stand."""
    found = {function_of(call): None for call in module.calls(*names)}
    return [each for each in found if isinstance(each, FUNCTIONS)]


def doubled(module: Module) -> Iterator[tuple[ast.Call, ast.expr, ast.expr]]:
    """The second collection that one query joins: its loader, the first, the second."""
    for function in _functions(module, JOINED):
        for calls in statements(module, function):
            seen: dict[str, ast.expr] = {}
            for each in calls:
                for loader in each.args if each.func.attr == "options" else ():
                    path = _first(module, loader, JOINED)
                    found = _declared(module, path) if path is not None else None
                    if not found or not found.many:
                        continue
                    owner = ast.unparse(path.value)
                    if owner in seen and ast.unparse(seen[owner]) != ast.unparse(path):
                        yield loader, seen[owner], path
                    seen.setdefault(owner, path)


def ambiguous(module: Module) -> Iterator[tuple[ast.expr, ast.expr, str, bool]]:
    """Pages that go on after a value other rows can share.

    Yields the condition, the column, the sign, and whether the value is a cursor beyond doubt.
    """
    functions = {
        function_of(call): None
        for call in module.all(ast.Call)
        if getattr(call.func, "attr", "") == "order_by"
    }
    for function in functions:
        if not isinstance(function, FUNCTIONS):
            continue
        for calls in statements(module, function):
            ordered = [each for each in calls if each.func.attr == "order_by"]
            limited = any(each.func.attr in ("limit", "fetch") for each in calls)
            if len(ordered) != 1 or not limited or len(ordered[0].args) != 1:
                continue
            column, down = _ordering(ordered[0].args[0])
            if _KEY.search(ast.unparse(column)) or _is_unique(module, column):
                continue
            for each in calls:
                for test in each.args if each.func.attr in _WHERE else ():
                    if _continues(test, column, down):
                        sure = bool(_SURE.search(ast.unparse(test.comparators[0])))
                        yield test, column, "<" if down else ">", sure


def _ordering(node: ast.expr) -> tuple[ast.expr, bool]:
    """The column of an ordering, and whether it is descending."""
    if isinstance(node, ast.Call):
        if (
            isinstance(node.func, ast.Attribute)
            and node.func.attr in ("desc", "asc")
            and not node.args
        ):
            return node.func.value, node.func.attr == "desc"
        if (
            getattr(node.func, "id", getattr(node.func, "attr", "")) in ("desc", "asc")
            and node.args
        ):
            return node.args[0], "desc" in ast.unparse(node.func)
    return node, False


def _continues(test: ast.expr, column: ast.expr, down: bool) -> bool:
    """Whether a condition asks for rows beyond the last one of the page before."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return False
    if not isinstance(test.ops[0], ast.Lt if down else ast.Gt):
        return False
    value = ast.unparse(test.comparators[0])
    same = ast.unparse(test.left) == ast.unparse(column)
    return same and bool(_CURSOR.search(value)) and not _NOT_CURSOR.search(value)


def _is_unique(module: Module, column: ast.expr) -> bool:
    """Whether the project declares a column unique."""
    if not isinstance(column, ast.Attribute):
        return not isinstance(column, ast.Name)
    found = module.project.definition(module.name(column.value))
    if not found:
        return False
    for each in ast.walk(found[1]):
        target = getattr(each, "target", None) or (getattr(each, "targets", None) or [None])[0]
        if getattr(target, "id", "") == column.attr and isinstance(
            each, ast.Assign | ast.AnnAssign
        ):
            return any(
                one.arg in ("unique", "primary_key") and getattr(one.value, "value", False)
                for one in ast.walk(each)
                if isinstance(one, ast.keyword)
            )
    return False
