"""Lifespans: what an application opens before the `yield`, and what it closes after it."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from project.module import FUNCTIONS, Module, inside, keyword, statement_of

from subjects.calls import callee

CLOSES = {
    *("close", "aclose", "closeall", "wait_closed", "dispose", "shutdown", "stop", "astop"),
    *("disconnect", "teardown", "cleanup", "terminate", "deregister", "unregister", "drain"),
    *("flush", "release", "finalize"),
}
CATCHES = {"builtins.Exception", "builtins.BaseException"}
SPARED = {"asyncio.gather", "asyncio.wait", "asyncio.sleep"}
BLOCKS = ("body", "orelse", "finalbody")
FRAMEWORKS = ("fastapi.FastAPI", "starlette.applications.Starlette")


@dataclass(frozen=True)
class Step:
    """A statement after a `yield`, and the number of the `finally` it stands in, or 0."""

    node: ast.stmt
    block: int

    @property
    def guarded(self) -> bool:
        """Whether it runs whatever happens at the `yield`."""
        return self.block > 0


def lifespans(module: Module) -> Iterator[tuple[ast.AST, ast.Yield]]:
    """The lifespans that a module defines, each with its only `yield`."""
    for function in module.all(ast.AsyncFunctionDef):
        if module.project.is_lifespan(function, module) or _takes_application(module, function):
            yields = list(inside(function, ast.Yield))
            if len(yields) == 1:
                yield function, yields[0]


def _takes_application(module: Module, function: ast.AST) -> bool:
    """Whether a function's first parameter is an application: as no dependency's can be."""
    first = [each for each in function.args.args[:2] if each.arg != "self"][:1]
    kind = module.project.annotated(module, first[0].annotation) if first else None
    return module.project.is_a(kind, *FRAMEWORKS)


def steps(function: ast.AST, moment: ast.Yield) -> list[Step]:
    """The statements that run after a `yield`, in order."""
    found: list[Step] = []
    blocks = 0
    node: ast.AST = statement_of(moment)
    while node is not function:
        holder, slot = node.parent, node.slot
        block = getattr(holder, slot)
        if slot in BLOCKS:
            found += [Step(each, 0) for each in block[block.index(node) + 1 :]]
        if isinstance(holder, ast.Try) and slot == "body":
            blocks += 1
            found += [Step(each, blocks) for each in holder.finalbody]
        node = holder
    return found


def closing(step: ast.stmt) -> ast.Call | None:
    """The call in a statement that closes something."""
    for call in _within(step, ast.Call):
        if not isinstance(statement_of(call), ast.Expr | ast.Assign):
            continue  # a question, such as `if needs_shutdown():`
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if CLOSES.intersection(re.split(r"_+", name.lower())) and not _logs(call):
            return call
    return None


def failing(module: Module, step: ast.stmt) -> ast.Await | None:
    """What a statement awaits, so that it may fail and end the steps there."""
    if isinstance(step, (*FUNCTIONS, ast.ClassDef)):
        return None
    if isinstance(step, ast.Try) and any(catches(module, each) for each in step.handlers):
        return None
    if isinstance(step, ast.With | ast.AsyncWith):
        entered = [ast.unparse(each.context_expr) for each in step.items]
        if any("suppress" in each or "catch" in each for each in entered):
            return None
    if isinstance(step, ast.If | ast.With | ast.AsyncWith | ast.For):
        return next((found for each in step.body if (found := failing(module, each))), None)
    return next(
        (
            each
            for each in _within(step, ast.Await)
            if not (
                _spared(module, each.value)
                or _forgiving(module, each.value)
                or _caught(module, each, step)
            )
        ),
        None,
    )


def closing_now(module: Module, step: ast.stmt) -> ast.Call | None:
    """The close that a statement makes without awaiting it, where nothing catches its error."""
    close = closing(step)
    caught = isinstance(step, ast.Try | ast.With | ast.AsyncWith)
    return None if caught or close is None or any(_within(step, ast.Await)) else close


def opened(function: ast.AST, close: ast.Call, moment: ast.Yield) -> ast.stmt | None:
    """The statement before a `yield` that makes what a close closes, or None."""
    target = close.func.value if isinstance(close.func, ast.Attribute) else None
    if target is None:
        return None
    wanted = ast.unparse(target)
    for node in inside(function, ast.Assign, ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        made = isinstance(node.value, ast.Call | ast.Await) and node.lineno < moment.lineno
        if made and any(ast.unparse(each) == wanted for each in targets):
            return node
    return None


def between(
    module: Module, function: ast.AST, close: ast.Call, moment: ast.Yield
) -> ast.expr | None:
    """What is awaited between the open of a resource and the `yield`, and may fail."""
    start = opened(function, close, moment)
    for node in inside(function, ast.Await) if start is not None else ():
        before = start.end_lineno < node.lineno < moment.lineno
        if not before or _opens(node, close):
            continue
        spared = _spared(module, node.value) or _forgiving(module, node.value)
        if not (spared or _caught(module, node, function) or _guarded(node, function)):
            return node
    return None


def _forgiving(module: Module, node: ast.expr) -> bool:
    """Whether a call runs a function of the project that catches the errors of all it awaits."""
    found = callee(module, node) if isinstance(node, ast.Call) else None
    if found is None or not isinstance(found[1], ast.AsyncFunctionDef):
        return False
    waits = list(inside(found[1], ast.Await))
    return bool(waits) and all(_caught(found[0], each, found[1]) for each in waits)


def _caught(module: Module, node: ast.AST, function: ast.AST) -> bool:
    while node is not function:
        holder, slot = node.parent, node.slot
        tried = isinstance(holder, ast.Try) and slot == "body"
        if tried and any(catches(module, each) for each in holder.handlers):
            return True
        node = holder
    return False


def _opens(node: ast.Await, close: ast.Call) -> bool:
    """Whether what is awaited is a method of the very thing that is closed, such as `setup()`."""
    owner = getattr(getattr(node.value, "func", None), "value", None)
    return owner is not None and ast.unparse(owner) == ast.unparse(close.func.value)


def _guarded(node: ast.AST, function: ast.AST) -> bool:
    while node is not function:
        holder, slot = node.parent, node.slot
        if isinstance(holder, ast.Try) and slot == "body" and holder.finalbody:
            return True
        node = holder
    return False


def catches(module: Module, handler: ast.ExceptHandler) -> bool:
    """Whether a handler catches every Exception and ends well."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    every = any(each is None or module.name(each) in CATCHES for each in kinds)
    return every and not any(inside(handler, ast.Raise))


def _spared(module: Module, node: ast.expr) -> bool:
    if not isinstance(node, ast.Call) or module.name(node.func) not in SPARED:
        return False
    return module.name(node.func) != "asyncio.gather" or bool(keyword(node, "return_exceptions"))


def _logs(call: ast.Call) -> bool:
    owner = ast.unparse(getattr(call.func, "value", call.func)).lower()
    return re.search(r"(^|[._])log(ger|ging)?$", owner) is not None


def _within(step: ast.stmt, kind: type[ast.AST]) -> Iterator[ast.AST]:
    if not isinstance(step, (*FUNCTIONS, ast.ClassDef)):
        yield from inside(step, kind)
