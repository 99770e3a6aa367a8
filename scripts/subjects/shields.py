"""`asyncio.shield`: the calls whose task has no other owner, and what to write instead."""

import ast
import re
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, function_of, parents

from subjects.calls import callee
from subjects.tasks import starts

# What makes a future or a task that something else holds as well.
HELD = {"run_in_executor", "gather", "submit", "spawn", "start", "start_soon", "schedule"}
OWNED = {"task", "tasks", "future", "futures"}
# What is tidied up after the work, where an error is logged and not raised.
TIDIES = {
    *("close", "aclose", "aexit", "cleanup", "disconnect", "dispose", "release", "rollback"),
    *("shutdown", "stop", "terminate", "unlock"),
}


def unheld(module: Module) -> Iterator[tuple[ast.Call, ast.Call]]:
    """The awaited calls of `shield` on a coroutine that is made there, and the call of that."""
    started = {id(call): work for call, work in starts(module)}
    for call in module.calls("asyncio.shield"):
        inner = call.args[0] if call.args else None
        inner = started.get(id(inner), inner)
        if isinstance(inner, ast.Name):
            inner = started.get(id(_only_use(module, inner)), inner)
        around = call.parent
        if isinstance(around, ast.Call) and module.name(around.func) == "asyncio.wait_for":
            around = around.parent
        awaited = isinstance(inner, ast.Call) and isinstance(around, ast.Await)
        if awaited and _is_coroutine(module, inner):
            yield call, inner


def _only_use(module: Module, name: ast.Name) -> ast.expr | None:
    """What a local variable is bound to, when nothing else in the function reads it."""
    function = function_of(name)
    bound = module.bindings(function).get(name.id, ()) if function is not None else ()
    read = [
        each
        for each in (ast.walk(function) if len(bound) == 1 else ())
        if isinstance(each, ast.Name) and each.id == name.id and isinstance(each.ctx, ast.Load)
    ]
    return getattr(bound[0].parent, "value", None) if len(read) == 1 else None


def _is_coroutine(module: Module, call: ast.Call) -> bool:
    """Whether a call makes a coroutine: not a future or a task that somebody holds."""
    found = callee(module, call)
    if found is not None:
        return isinstance(found[1], ast.AsyncFunctionDef)
    last = _last(call)
    return last not in HELD and not OWNED.intersection(_words(last))


def in_cleanup(node: ast.AST) -> bool:
    """Whether a node stands in a `finally` of its function."""
    below = node
    for above in parents(node):
        if isinstance(above, ast.Try) and below.slot == "finalbody":
            return True
        if isinstance(above, (*FUNCTIONS, ast.Lambda)):
            return False
        below = above
    return False


def owned(call: ast.Call, inner: ast.Call, what: str) -> str:
    """How to give the work inside a shield an owner.

    `finish` only logs an error, so it is advised for cleanups alone.
    """
    if isinstance(call.args[0], ast.Name) and not in_cleanup(call):
        return f"tasks.add({call.args[0].id}) first, so that it is waited for at shutdown"
    if isinstance(call.parent.parent, ast.Expr) and (in_cleanup(call) or _tidies(call, inner)):
        return f"await finish({what})"
    return f"tasks.add(task := asyncio.create_task({what})) first, then asyncio.shield(task) here"


def _tidies(call: ast.Call, inner: ast.Call) -> bool:
    name = getattr(function_of(call), "name", "")
    return bool(TIDIES.intersection(_words(name) + _words(_last(inner))))


def _last(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _words(name: str) -> list[str]:
    return re.split(r"_+", name.lower())
