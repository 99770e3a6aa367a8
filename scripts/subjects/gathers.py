"""What becomes of the results of `asyncio.gather`."""

import ast
from collections.abc import Iterator

from project.module import COMPREHENSIONS, FUNCTIONS, Module, function_of, inside, keyword, parents

from subjects.calls import callee
from subjects.handlers import TIMEOUT, catches_all, caught, limited

COVERS = ("?", TIMEOUT, "builtins.OSError", "builtins.Exception", "builtins.BaseException")
WIDER = ("builtins.BaseException", "asyncio.CancelledError")


def emptied(module: Module) -> Iterator[tuple[ast.Call, ast.Return, bool]]:
    """The gathers of many sources for whose error a handler returns an empty answer.

    Each with that `return`, and whether a deadline around the gather leads there.
    """
    for call in module.calls("asyncio.gather"):
        starred = [each for each in call.args if isinstance(each, ast.Starred)]
        if not starred or call.keywords:
            continue
        for around in parents(call):
            if isinstance(around, FUNCTIONS):
                break
            returned, handler = _empty_answer(around, call)
            if returned is not None:
                limited_here = _limits(call.parent) or limited(module, call, around)
                names = caught(module, handler.type)
                late = limited_here and any(name in COVERS for name in names)
                if late or not any(_forgiving(module, each) for each in starred):
                    yield call, returned, late
                break


def _empty_answer(
    node: ast.AST, call: ast.Call
) -> tuple[ast.Return | None, ast.ExceptHandler | None]:
    """The `return []` of a handler around a call, and that handler."""
    if isinstance(node, ast.Try) and any(call in ast.walk(each) for each in node.body):
        for handler in node.handlers:
            last = handler.body[-1]
            if isinstance(last, ast.Return) and _empty(last.value):
                return last, handler
    return None, None


def _empty(node: ast.expr | None) -> bool:
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return not node.elts
    if isinstance(node, ast.Dict):
        return not node.keys
    name = getattr(getattr(node, "func", None), "id", "")
    return name in ("list", "dict", "tuple") and not node.args


def _forgiving(module: Module, node: ast.Starred) -> bool:
    """Whether a source is a call of a function that catches its own errors."""
    for call in inside(node, ast.Call):
        found = callee(module, call)
        if found and isinstance(found[1], ast.AsyncFunctionDef) and catches_all(*found):
            return True
    return False


def mistaken(module: Module) -> Iterator[tuple[ast.Call, ast.Name]]:
    """The `isinstance(result, Exception)` that let a cancellation pass as a result."""
    for gather in module.calls("asyncio.gather"):
        wanted = keyword(gather, "return_exceptions")
        function = function_of(gather)
        if not (isinstance(wanted, ast.Constant) and wanted.value is True) or function is None:
            continue
        names = set(_results(gather, function))
        for call in inside(function, ast.Call):
            asked = _asked(module, call)
            if asked is None or asked[1] != "builtins.Exception" or asked[0].id not in names:
                continue
            scope = _scope(call, function)
            if not _asked_wider(module, scope, asked[0]) and _used(scope, call, asked[0]):
                yield call, asked[0]


def _results(gather: ast.Call, function: ast.AST) -> Iterator[str]:
    """The variables that hold one result each: unpacked, or of a loop over all."""
    whole: ast.AST = gather
    while isinstance(whole.parent, ast.Await) or _limits(whole.parent):
        whole = whole.parent
    target = whole.parent.targets[0] if isinstance(whole.parent, ast.Assign) else whole
    if isinstance(target, ast.Tuple):
        yield from (each.id for each in target.elts if isinstance(each, ast.Name))
    for loop in inside(function, ast.For, ast.comprehension):
        yield from _taken(loop.target, loop.iter, target)


def _limits(node: ast.AST) -> bool:
    """Whether a node is a call of `wait_for`."""
    func = getattr(node, "func", None)
    return getattr(func, "attr", getattr(func, "id", "")) == "wait_for"


def _taken(target: ast.expr, source: ast.expr, results: ast.AST) -> Iterator[str]:
    """The part of a loop's target that holds a result: also of `zip` and `enumerate`."""
    same = isinstance(results, ast.Name) and getattr(source, "id", "") == results.id
    if (same or source is results) and isinstance(target, ast.Name):
        yield target.id
    if not (isinstance(source, ast.Call) and isinstance(target, ast.Tuple)):
        return
    if getattr(source.func, "id", "") == "zip":
        for part, each in zip(target.elts, source.args, strict=False):
            yield from _taken(part, each, results)
    elif getattr(source.func, "id", "") == "enumerate" and len(target.elts) == 2:
        yield from _taken(target.elts[1], source.args[0], results)


def _asked(module: Module, call: ast.Call) -> tuple[ast.Name, str | None] | None:
    """The variable and the class of an `isinstance` call."""
    known = module.name(call.func) == "builtins.isinstance" and len(call.args) == 2
    if not known or not isinstance(call.args[0], ast.Name):
        return None
    return call.args[0], module.name(call.args[1])


def _scope(call: ast.Call, function: ast.AST) -> ast.AST:
    """The loop or comprehension that a call stands in, or its function."""
    for above in parents(call):
        if isinstance(above, (ast.For, *COMPREHENSIONS, *FUNCTIONS)):
            return above
    return function


def _asked_wider(module: Module, scope: ast.AST, name: ast.Name) -> bool:
    """Whether a result is also asked for a wider class, or for the one that is expected."""
    for call in ast.walk(scope):
        asked = _asked(module, call) if isinstance(call, ast.Call) else None
        if asked is None or asked[0].id != name.id:
            continue
        classes = call.args[1].elts if isinstance(call.args[1], ast.Tuple) else [call.args[1]]
        for each in classes:
            found = module.name(each) or "?"
            if found in WIDER or not found.endswith(("Error", "Exception", "Exit", "Interrupt")):
                return True
    return False


def _used(scope: ast.AST, call: ast.Call, name: ast.Name) -> bool:
    """Whether a result that is no Exception is used as a value."""
    if isinstance(call.parent, ast.comprehension):
        return False  # it collects the errors
    branch = call.parent if isinstance(call.parent, ast.If | ast.IfExp) else None
    body = getattr(branch, "body", [])
    failed = {
        id(each) for part in (body if isinstance(body, list) else [body]) for each in ast.walk(part)
    }
    return any(
        isinstance(each, ast.Name)
        and each.id == name.id
        and isinstance(each.ctx, ast.Load)
        and id(each) not in failed
        and getattr(getattr(each.parent, "func", None), "id", "") != "isinstance"
        for each in ast.walk(scope)
        if getattr(each, "lineno", 0) >= call.lineno or isinstance(scope, COMPREHENSIONS)
    )
