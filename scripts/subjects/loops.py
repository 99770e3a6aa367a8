"""Event loops: the calls that start one, and the functions that a program starts one with."""

import ast
from functools import lru_cache

from project.module import FUNCTIONS, Module, class_of, function_of, inside

from subjects.calls import callee

RUNS = ("asyncio.run", "uvloop.run")
GETS = ("asyncio.get_event_loop", "asyncio.get_running_loop", "asyncio.new_event_loop")
ASKS = (b"nest_asyncio", b"get_running_loop", b"is_running(")


def looped(module: Module, call: ast.Call) -> ast.expr | None:
    """The awaitable with which a call starts an event loop, or None when it starts none."""
    if not call.args:
        return None
    if getattr(call.func, "attr", "run") not in ("run", "run_until_complete"):
        return None
    name = module.name(call.func)
    if name == "anyio.run":  # which gets a function and its arguments
        return ast.Call(call.args[0], call.args[1:], [])
    if name in RUNS or not isinstance(call.func, ast.Attribute):
        return call.args[0] if name in RUNS else None
    owner = module.value(call.func.value)
    if call.func.attr == "run" and owner == "asyncio.Runner":
        return call.args[0]
    if call.func.attr == "run_until_complete" and _is_loop(module, call.func.value):
        return call.args[0]
    return None


def _is_loop(module: Module, node: ast.expr) -> bool:
    if isinstance(node, ast.Name):
        function = function_of(node)
        bound = module.bindings(function).get(node.id, ()) if function else ()
        holder = bound[0].parent if len(bound) == 1 else None
        node = holder.value if isinstance(holder, ast.Assign) else node
    return isinstance(node, ast.Call) and module.name(node.func) in GETS


@lru_cache(maxsize=4)
def started(module: Module) -> frozenset[str]:
    """The names of functions that a module hands to `run(...)`: with them a program begins."""
    return frozenset(
        each.func.id
        for call in module.all(ast.Call)
        if getattr(call.func, "attr", getattr(call.func, "id", ""))
        in ("run", "run_until_complete", "main")
        for each in call.args
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)
    )


def begins(module: Module, node: ast.AST) -> bool:
    """Whether a node stands in the function with which a program begins."""
    function = function_of(node)
    name = getattr(function, "name", "")
    return name in started(module) or name.strip("_") in ("main", "async_main", "amain")


def called(module: Module, call: ast.Call) -> tuple[Module, ast.AST] | None:
    """The function or method of the project that a call runs, where that is certain."""
    func = call.func
    if isinstance(func, ast.Attribute) and getattr(func.value, "id", "") == "self":
        owner = class_of(call)
        named = module.project.named(module, owner) if owner is not None else None
        found = module.project.definition(f"{named}.{func.attr}") if named else None
    else:
        found = module.project.definition(module.name(func))
        if found is None and isinstance(func, ast.Attribute):
            owner = module.value(func.value)
            found = module.project.method(owner, func.attr) if owner else None
    return found if found and isinstance(found[1], FUNCTIONS) else None


def on_loop(module: Module, function: ast.AST, depth: int = 3) -> bool:
    """Whether a function, or one of the project that it calls, speaks to its thread's loop."""
    for node in inside(function, ast.Name, ast.Attribute, ast.Call):
        if isinstance(node, ast.Call):
            found = called(module, node) or callee(module, node) if depth else None
            if found and isinstance(found[1], ast.FunctionDef) and on_loop(*found, depth - 1):
                return True
        elif (module.name(node) or "").startswith("asyncio") or (
            getattr(node, "attr", "") in ("create_task", "call_soon")
        ):
            return True
    return False


def plain(function: ast.AST) -> bool:
    """Whether a call of a function runs its body at once, in the caller's thread."""
    marks = {ast.unparse(mark) for mark in function.decorator_list}
    return (
        isinstance(function, ast.FunctionDef)
        and marks <= {"staticmethod", "classmethod"}
        and not any(inside(function, ast.Yield, ast.YieldFrom))
    )


def always(function: ast.AST, call: ast.Call) -> bool:
    """Whether each run of a function makes a call, unless it ends early."""
    node: ast.AST = call
    while node is not function:
        slot, node = node.slot, node.parent
        if isinstance(node, ast.If | ast.IfExp | ast.Match) and slot != "test":
            return False
        if isinstance(node, ast.ExceptHandler | ast.BoolOp | ast.Lambda | ast.GeneratorExp):
            return False
    return True
