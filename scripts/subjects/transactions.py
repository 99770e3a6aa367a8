"""What an endpoint does with the transaction of the session that is injected into it."""

import ast
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, arguments, function_of, parents

from subjects.middlewares import EXCEPTIONS
from subjects.providers import SESSIONS, committing, yields


def early_commits(module: Module) -> Iterator[tuple[ast.Call, str]]:
    """The commits inside a provider's `begin()`, with a statement after them; the provider."""
    for call in module.all(ast.Call):
        if getattr(call.func, "attr", "") != "commit" or not isinstance(call.func.value, ast.Name):
            continue
        provider = _provider(module, function_of(call), call.func.value.id)
        block = committing(*provider) if provider else None
        begun = isinstance(block, ast.Call) and getattr(block.func, "attr", "") == "begin"
        if provider and begun and used_after(call, call.func.value.id):
            yield call, provider[1].name


def lost_rows(module: Module) -> Iterator[tuple[ast.Call, str]]:
    """The rows added in a block that goes on to raise an HTTPException; the session's name."""
    for node in module.all(ast.Raise):
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        function = function_of(node)
        if not isinstance(function, FUNCTIONS) or not module.project.is_a(
            module.name(raised), *EXCEPTIONS
        ):
            continue
        block = getattr(node.parent, node.slot)
        before = block[: block.index(node)] if isinstance(block, list) else []
        for place, statement in enumerate(before):
            name = _added(statement)
            kept = name is None or any(_mentions(each, name) for each in before[place + 1 :])
            if not kept and _is_session(module, function, name):
                yield statement.value, name


def awaited(call: ast.Call) -> str:
    """A call as it is written, with its `await`."""
    return ast.unparse(call.parent if isinstance(call.parent, ast.Await) else call)


def used_after(call: ast.Call, name: str) -> bool:
    """Whether the block that commits goes on with the session."""
    statement = next(each for each in parents(call) if isinstance(each, ast.stmt))
    block = getattr(statement.parent, statement.slot)
    after = block[block.index(statement) + 1 :]
    return any(
        isinstance(each, ast.Attribute)
        and getattr(each.value, "id", "") == name
        and each.attr
        in ("execute", "scalars", "scalar", "refresh", "get", "add", "flush", "delete")
        for line in after
        for each in ast.walk(line)
    )


def _provider(module: Module, function: ast.AST | None, name: str) -> tuple[Module, ast.AST] | None:
    if not isinstance(function, FUNCTIONS):
        return None
    arg = next((each for each in arguments(function) if each.arg == name), None)
    injection = module.project.injection(module, function, arg) if arg else None
    found = module.project.definition(injection.provider) if injection else None
    return found if found and isinstance(found[1], FUNCTIONS) and yields(found[1]) else None


def _is_session(module: Module, function: ast.AST, name: str) -> bool:
    arg = next((each for each in arguments(function) if each.arg == name), None)
    typed = arg and module.project.annotated(module, arg.annotation) in SESSIONS
    return bool(typed) and _provider(module, function, name) is not None


def _added(statement: ast.stmt) -> str | None:
    call = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(call, ast.Call) and getattr(call.func, "attr", "") in ("add", "add_all"):
        return getattr(call.func.value, "id", None)
    return None


def _mentions(statement: ast.stmt, name: str) -> bool:
    """Whether a statement hands a session on, or ends its transaction."""
    for each in ast.walk(statement):
        if isinstance(each, ast.Name) and each.id == name:
            method = getattr(each.parent, "attr", "")
            if method not in ("add", "add_all", "flush", "execute", "scalar", "scalars", "refresh"):
                return True
    return False
