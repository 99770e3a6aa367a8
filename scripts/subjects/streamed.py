"""Sessions that a streamed body, or a background task, uses after its endpoint has returned."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from project.annotations import Injection
from project.module import (
    FUNCTIONS,
    Module,
    arguments,
    function_of,
    inside,
    keyword,
    own,
    parents,
)
from project.values import SESSION

from subjects.providers import SESSIONS, called, committing, yields

STREAMS = (
    "starlette.responses.StreamingResponse",
    "sse_starlette.EventSourceResponse",
    "sse_starlette.sse.EventSourceResponse",
    "fastapi.sse.EventSourceResponse",
)
TASKS = ("fastapi.BackgroundTasks", "starlette.background.BackgroundTasks")
STATEMENTS = {"execute", "scalars", "scalar", "stream", "stream_scalars", "commit", "flush"}


@dataclass(frozen=True)
class Late:
    """A session used late: by its name, where, and the block or the injection it comes from."""

    name: str
    call: ast.Call
    block: ast.AST | None
    injection: Injection | None
    waits: bool = True  # its methods are awaited


def streamed(module: Module) -> Iterator[Late]:
    """The sessions that the body of a StreamingResponse uses."""
    for call in module.all(ast.Call):
        if not module.project.is_a(module.name(call.func), *STREAMS):
            continue
        function = function_of(call)
        content = call.args[0] if call.args else keyword(call, "content")
        if content is None or not isinstance(function, FUNCTIONS):
            continue
        for name in dict.fromkeys(_used(module, function, content)):
            yield from _late(module, function, call, name)


def held(module: Module) -> Iterator[Late]:
    """The sessions of a request that no line before a StreamingResponse closes."""
    for call in module.all(ast.Call):
        function = function_of(call)
        if not module.project.is_a(module.name(call.func), *STREAMS):
            continue
        for arg in arguments(function) if isinstance(function, FUNCTIONS) else ():
            if module.project.annotated(module, arg.annotation) not in SESSIONS:
                continue
            ended = any(
                getattr(each.func, "attr", "") in ("commit", "rollback", "close")
                and getattr(each.func.value, "id", "") == arg.arg
                for each in inside(function, ast.Call)
            )
            if not ended:
                yield from _late(module, function, call, arg.arg)


def deferred(module: Module) -> Iterator[Late]:
    """The sessions that a background task is given."""
    for call in module.all(ast.Call):
        added = getattr(call.func, "attr", "") == "add_task"
        if added and module.value(call.func.value) not in TASKS:
            continue
        if not added and module.name(call.func) != "starlette.background.BackgroundTask":
            continue
        function = function_of(call)
        given = [*call.args[1:], *(each.value for each in call.keywords)]
        if call.args and isinstance(call.args[0], ast.Lambda):
            given += [each for each in ast.walk(call.args[0].body) if isinstance(each, ast.Name)]
        named = {each.id: each for each in given if isinstance(each, ast.Name)}
        for name, each in named.items() if isinstance(function, FUNCTIONS) else ():
            if module.value(each) in SESSIONS:
                yield from _late(module, function, call, name)


def delayed(module: Module, late: Late) -> str:
    """What becomes of a session that a background task is given."""
    if late.block is not None or late.injection is None or late.injection.scope == "function":
        return f"`{late.name}` is closed before the task runs, and its use opens it again"
    found = module.project.definition(late.injection.provider)
    if found and committing(*found) is not None:
        return f"the task runs before `{late.name}` commits, and misses its rows"
    return f"`{late.name}` keeps its connection until the task ends"


def _late(module: Module, function: ast.AST, call: ast.Call, name: str) -> Iterator[Late]:
    bound = module.bindings(function).get(name, [])
    if len(bound) != 1:
        return
    if isinstance(bound[0], ast.arg):
        injection = module.project.injection(module, function, bound[0])
        provider = module.project.definition(injection.provider) if injection else None
        if provider and isinstance(provider[1], FUNCTIONS) and yields(provider[1]):
            yield Late(name, call, None, injection, _waits(module, bound[0]))
        return
    block = next((each for each in parents(bound[0]) if isinstance(each, ast.withitem)), None)
    if block is not None and block.parent in set(parents(call)):
        yield Late(name, call, block.parent, None)


def _waits(module: Module, arg: ast.arg) -> bool:
    return module.project.annotated(module, arg.annotation) == SESSION


def _used(module: Module, function: ast.AST, content: ast.expr, depth: int = 0) -> Iterator[str]:
    """The names of sessions that the content of a response uses while it is sent."""
    if isinstance(content, ast.GeneratorExp):
        for each in ast.walk(content):
            if isinstance(each, ast.Name) and module.value(each) in SESSIONS:
                yield each.id
        return
    content = _value(module, function, content)
    if not isinstance(content, ast.Call) or depth > 3:
        return
    inner = _local(module, function, content.func)
    if inner is not None and yields(inner):
        yield from _free(module, function, inner)
    elif not _generates(module, content, unknown=depth == 0):
        return
    yield from _given(module, function, content)
    for each in (*content.args, *(each.value for each in content.keywords)):
        if isinstance(each, ast.Name) and module.value(each) in SESSIONS:
            yield each.id
        else:
            yield from _used(module, function, each, depth + 1)


def _given(module: Module, function: ast.AST, call: ast.Call) -> Iterator[str]:
    """The sessions given to the object whose generator a call runs, where that uses a session."""
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    made = _value(module, function, owner) if owner is not None else None
    found = module.project.definition(called(module, call))
    if not isinstance(made, ast.Call) or found is None or not isinstance(found[1], FUNCTIONS):
        return
    fields = (each for each in own(found[1]) if isinstance(each, ast.Attribute))
    if yields(found[1]) and any(found[0].value(each) in SESSIONS for each in fields):
        for each in (*made.args, *(each.value for each in made.keywords)):
            if isinstance(each, ast.Name) and module.value(each) in SESSIONS:
                yield each.id


def _generates(module: Module, call: ast.Call, unknown: bool) -> bool:
    found = module.project.definition(called(module, call))
    if found is None:
        return unknown
    return isinstance(found[1], FUNCTIONS) and bool(yields(found[1]))


def _value(module: Module, function: ast.AST, node: ast.expr) -> ast.expr:
    """A local name's only value, or the expression itself."""
    bound = module.bindings(function).get(getattr(node, "id", ""), [])
    holder = bound[0].parent if len(bound) == 1 else None
    return holder.value if isinstance(holder, ast.Assign) else node


def _local(module: Module, function: ast.AST, node: ast.expr) -> ast.AST | None:
    bound = module.bindings(function).get(getattr(node, "id", ""), [])
    return bound[0] if len(bound) == 1 and isinstance(bound[0], FUNCTIONS) else None


def _free(module: Module, function: ast.AST, inner: ast.AST) -> Iterator[str]:
    """The names of the enclosing function on which a generator within calls statements."""
    mine = {each.arg for each in arguments(inner)} | set(module.bindings(inner))
    for each in own(inner):
        if not isinstance(each, ast.Name) or each.id in mine:
            continue
        method = getattr(each.parent, "attr", "") if each.slot == "value" else ""
        bound = module.bindings(function).get(each.id, [])
        spoken = method in STATEMENTS and any(map(_speaks, bound))
        if bound and (spoken or module.value(each) in SESSIONS):
            yield each.id


def _speaks(bound: ast.AST) -> bool:
    """Whether what binds a name calls it a session: a parameter, or `async with sessions() as`."""
    item = next((each for each in parents(bound) if isinstance(each, ast.withitem)), None)
    return "session" in ast.unparse(item.context_expr if item else bound).lower()


def loops(function: ast.AST) -> list[ast.AST]:
    """The loops of a function's own body that wait for something, without an end in sight."""
    return [
        each
        for each in inside(function, ast.While, ast.AsyncFor)
        if isinstance(each, ast.AsyncFor)
        or any(isinstance(inner, ast.Await) for inner in ast.walk(each))
    ]


def ended_before(function: ast.AST, name: str) -> bool:
    """Whether a function ends a session's transaction, and none of its loops uses the session."""
    ends = any(
        getattr(call.func, "attr", "") in ("commit", "rollback", "close")
        and getattr(call.func.value, "id", "") == name
        for call in inside(function, ast.Call)
    )
    return ends and not any(
        isinstance(each, ast.Name) and each.id == name
        for loop in loops(function)
        for each in ast.walk(loop)
    )
