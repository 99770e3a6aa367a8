"""What a middleware raises out of itself, and the response it could send instead."""

import ast
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, function_of, inside, parents

from subjects.middlewares import EXCEPTIONS, Entry, methods

CATCHING = {*EXCEPTIONS, "builtins.Exception", "builtins.BaseException"}


def raised(module: Module, entry: Entry) -> Iterator[ast.Raise]:
    """Where an entry, or what it calls in its module, raises an HTTPException out of itself."""
    if entry.kind == "asgi":  # a mounted one is inside of the application's handlers
        named = module.project.named(module, entry.owner) if entry.owner else None
        if named not in module.project.facts.middleware:
            return
    known = methods(entry.owner) if entry.owner else {}
    reached, todo = {entry.function}, [entry.function]
    while todo:
        function = todo.pop()
        for each in inside(function, ast.Raise, ast.Call):
            if isinstance(each, ast.Raise):
                if _is_http(module, each.exc) and not _caught(module, each, function):
                    yield each
                continue
            called = _called(module, each, known)
            if called is not None and called not in reached and not _caught(module, each, function):
                reached.add(called)
                todo.append(called)


def _called(module: Module, call: ast.Call, known: dict[str, ast.AST]) -> ast.AST | None:
    """The method of `self`, or the function of the module, that a call reaches."""
    if getattr(getattr(call.func, "value", None), "id", "") == "self":
        return known.get(call.func.attr)
    found = module.project.definition(module.name(call.func))
    if found and found[0] is module and isinstance(found[1], FUNCTIONS):
        return found[1]
    return None


def instead_of_raise(entry: Entry, node: ast.Raise) -> str:
    """The Response with the same status, body and headers, sent or returned."""
    call = node.exc
    if not isinstance(call, ast.Call) or any(each.arg is None for each in call.keywords):
        return "return a JSONResponse"
    placed = [ast.unparse(each) for each in call.args]
    parts = {each.arg: ast.unparse(each.value) for each in call.keywords}
    parts |= dict(zip(("status_code", "detail", "headers"), placed, strict=False))
    detail = parts.get("detail", '"..."')
    headers = f", {parts['headers']}" if "headers" in parts else ""
    response = f'JSONResponse({{"detail": {detail}}}, {parts.get("status_code", 500)}{headers})'
    if function_of(node) is not entry.function:
        return f"{response}, for `{entry.name}` to send"
    if entry.kind == "asgi":
        return f"return await {response}(scope, receive, send)"
    return f"return {response}"


def _is_http(module: Module, node: ast.expr | None) -> bool:
    called = node.func if isinstance(node, ast.Call) else node
    return called is not None and module.project.is_a(module.name(called), *EXCEPTIONS)


def _caught(module: Module, node: ast.AST, function: ast.AST) -> bool:
    below = node
    for above in parents(node):
        if above is function:
            return False
        tried = isinstance(above, ast.Try | ast.TryStar) and below.slot == "body"
        if tried and any(_keeps(module, each) for each in above.handlers):
            return True
        items = above.items if isinstance(above, ast.With | ast.AsyncWith) else []
        if any(_suppresses(module, each.context_expr) for each in items):
            return True
        below = above
    return False


def _keeps(module: Module, handler: ast.ExceptHandler) -> bool:
    """Whether a handler catches an HTTPException and does not raise it again."""
    again = any(each.exc is None for each in inside(handler, ast.Raise))
    return not again and _catches(module, handler.type)


def _catches(module: Module, node: ast.expr | None) -> bool:
    if node is None:
        return True
    each = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(module.name(kind) in CATCHING or module.name(kind) is None for kind in each)


def _suppresses(module: Module, node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and module.name(node.func) == "contextlib.suppress"
