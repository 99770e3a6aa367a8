"""Handlers of exceptions and deadlines: what they catch, and what their blocks wait for."""

import ast
from collections.abc import Iterable, Iterator

from project.module import FUNCTIONS, Module, inside, own, parents

from subjects.calls import callee

CANCELLED = "asyncio.CancelledError"
BASE = "builtins.BaseException"
WAITS = (ast.Await, ast.AsyncFor, ast.AsyncWith)
STORES = {"append", "add", "put", "put_nowait", "set_exception", "extend"}
LOOPS = (ast.While, ast.For, ast.AsyncFor)
TIMEOUT = "builtins.TimeoutError"
# Cancel what their block awaits, and raise TimeoutError where the block is left.
DEADLINES = {
    *("asyncio.timeout", "asyncio.timeout_at", "asyncio.timeouts.timeout"),
    *("async_timeout.timeout", "async_timeout.timeout_at", "anyio.fail_after"),
}


def within(statements: Iterable[ast.stmt], *kinds: type[ast.AST]) -> Iterator[ast.AST]:
    """The nodes of statements, without what functions and classes among them hold."""
    for each in own(ast.Module(body=list(statements), type_ignores=[])):
        if not kinds or isinstance(each, kinds):
            yield each


def up_to(node: ast.AST, block: ast.AST) -> Iterator[ast.AST]:
    """The nodes around a node within a block, the nearest first."""
    for above in parents(node):
        if above is block:
            return
        yield above


def caught(module: Module, node: ast.expr | None, depth: int = 0) -> list[str]:
    """The names of the classes that `except node` catches; what cannot be resolved is "?"."""
    if node is None:
        return [BASE]
    if isinstance(node, ast.Tuple):
        return [name for each in node.elts for name in caught(module, each, depth)]
    name = module.name(node)
    file, colon, identifier = (name or "").partition(":")
    home = module.project.module(file) if colon and file in module.project.files else None
    bound = home.bindings(home.tree).get(identifier, ()) if home else ()
    if len(bound) == 1 and isinstance(bound[0], ast.Name) and depth < 3:
        value = getattr(bound[0].parent, "value", None)
        if isinstance(value, ast.Tuple):
            return caught(home, value, depth + 1)
    return [name or "?"]


def catches_cancel(names: Iterable[str]) -> bool:
    """Whether one of the classes caught is CancelledError or BaseException."""
    return any(each in (CANCELLED, BASE) for each in names)


def catches_all(module: Module, function: ast.AST) -> bool:
    """Whether a function has a handler of its own for every exception."""
    return any(
        name in (BASE, "builtins.Exception")
        for node in inside(function, ast.Try)
        for handler in node.handlers
        for name in caught(module, handler.type)
    )


def swallower(module: Module, node: ast.Try) -> ast.ExceptHandler | None:
    """The handler of a `try` that takes a cancellation and goes on, or None.

    One that raises, stores the error or a flag, or asks `cancelling()` deals with it.
    """
    for handler in node.handlers:
        if catches_cancel(caught(module, handler.type)):
            return None if _deals(handler) else handler
    return None


def suppressors(module: Module) -> Iterator[tuple[ast.With, ast.Call]]:
    """The `with suppress(...)` statements that take a cancellation, and the call."""
    for call in module.calls("contextlib.suppress"):
        item = call.parent
        names = [name for arg in call.args for name in caught(module, arg)]
        if isinstance(item, ast.withitem) and catches_cancel(names):
            yield item.parent, call


def head(handler: ast.ExceptHandler) -> str:
    """The line of a handler, without the name it binds."""
    return f"except {ast.unparse(handler.type)}:" if handler.type else "except:"


def narrower(module: Module, handler: ast.ExceptHandler) -> str:
    """The handler without the cancellation, where what is left can be written."""
    name = f" as {handler.name}" if handler.name else ""
    if BASE in caught(module, handler.type) and not isinstance(handler.type, ast.Tuple):
        return f"except Exception{name}:"
    kept = [
        ast.unparse(each)
        for each in getattr(handler.type, "elts", ())
        if not catches_cancel(caught(module, each))
    ]
    if kept:
        return f"except {_listed(kept)}{name}:"
    return "end this handler with `raise`"


def asks_for_cancel(node: ast.AST) -> bool:
    """Whether a node's own code asks a task whether it was asked to end."""
    return any(each.attr in ("cancelling", "uncancel") for each in inside(node, ast.Attribute))


def _deals(handler: ast.ExceptHandler) -> bool:
    if asks_for_cancel(handler):
        return True
    for each in within(handler.body):
        if isinstance(each, ast.Raise):
            return True
        if isinstance(each, ast.Call) and _ends(each):
            return True
        if isinstance(each, ast.Assign | ast.AnnAssign) and each.value is not None:
            flag = isinstance(each.value, ast.Constant) and isinstance(each.value.value, bool)
            if flag or _mentions(each.value, handler.name):
                return True
        stored = isinstance(each, ast.Call) and getattr(each.func, "attr", "") in STORES
        if stored and any(_mentions(arg, handler.name) for arg in each.args):
            return True
        if isinstance(each, ast.Return) and _mentions(each.value, handler.name):
            return True
    return False


def _ends(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    return name in ("exit", "_exit", "abort", "reraise", "raise_exc")


def _mentions(node: ast.AST | None, name: str | None) -> bool:
    if node is None or name is None:
        return False
    return any(isinstance(each, ast.Name) and each.id == name for each in ast.walk(node))


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"


def blind(module: Module, call: ast.Call) -> Iterator[tuple[ast.ExceptHandler, bool]]:
    """The handlers of TimeoutError in a deadline's block that its end does not reach.

    None where the error is also caught outside, or where the handler may mean another limit. It
    is not sure where it may mean an error of a connection: beside others, or to try again.
    """
    block = call.parent.parent if isinstance(call.parent, ast.withitem) else None
    if block is None or _caught_outside(module, block):
        return
    for node in within(block.body, ast.Try):
        handler = _timeout_handler(module, node)
        awaits = next(within(node.body, *WAITS), None)
        if handler is not None and awaits is not None and not _own_limit(module, node.body):
            again = any(isinstance(each, LOOPS) for each in up_to(node, block))
            leaves = next(within(handler.body, ast.Return, ast.Break, ast.Raise), None)
            alone = set(caught(module, handler.type)) == {TIMEOUT}
            if alone or leaves or not again:
                yield handler, alone and (leaves is not None or not again)


def limited(module: Module, node: ast.AST, block: ast.AST) -> bool:
    """Whether a deadline within a block ends an `await`."""
    return any(
        module.name(getattr(item.context_expr, "func", None)) in DEADLINES
        for above in up_to(node, block)
        for item in getattr(above, "items", ())
    )


def _timeout_handler(module: Module, node: ast.Try) -> ast.ExceptHandler | None:
    return next((each for each in node.handlers if TIMEOUT in caught(module, each.type)), None)


def _caught_outside(module: Module, block: ast.AST) -> bool:
    below = block
    for above in parents(block):
        if isinstance(above, ast.Try) and below.slot == "body" and _timeout_handler(module, above):
            return True
        if isinstance(above, FUNCTIONS):
            return False
        below = above
    return False


def _own_limit(module: Module, body: list[ast.stmt], depth: int = 1) -> bool:
    """Whether a block sets a limit of its own, whose TimeoutError the handler may mean.

    A function of the project that it calls may do so as well.
    """
    for call in within(body, ast.Call):
        name = module.name(call.func)
        if name in DEADLINES or name == "asyncio.wait_for":
            return True
        if any("timeout" in (each.arg or "timeout") for each in call.keywords):
            return True
        found = callee(module, call) if depth else None
        if found and isinstance(found[1], FUNCTIONS):
            home, function = found
            if _raises_late(home, function) or _own_limit(home, function.body, depth - 1):
                return True
    return False


def _raises_late(module: Module, function: ast.AST) -> bool:
    """Whether a function raises a TimeoutError of its own."""
    raised = [each.exc for each in inside(function, ast.Raise)]
    return any(module.name(getattr(each, "func", each)) == TIMEOUT for each in raised)
