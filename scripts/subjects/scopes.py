"""What an ASGI class does about the kinds of scope: http, websocket, lifespan."""

import ast
import re
from pathlib import Path

from project.module import Module, inside, own

from subjects.middlewares import REFUSALS, passes, status

READS = {"headers", "path", "method", "query_string", "client", "server", "scheme", "raw_path"}
READERS = {
    "fastapi.Request",
    "starlette.datastructures.Headers",
    "fastapi.datastructures.Headers",
    "starlette.requests.HTTPConnection",
    "fastapi.requests.HTTPConnection",
    "starlette.datastructures.URL",
    "fastapi.datastructures.URL",
}

SOCKETS = re.compile(
    rb"\.websocket(?:_route)?\(|WebSocketRoute\(|WebSocketEndpoint\b|:\s*(?:\w+\.)?WebSocket\b"
    rb"|GraphQL(?:Router)?\("
)
MCP = re.compile(rb"(?<![a-z])mcp(?![a-z])", re.IGNORECASE)  # a protocol without WebSockets


def accepts_sockets(module: Module) -> bool:
    """Whether the project has WebSockets, and the module is not about a protocol without them."""
    if MCP.search(module.source):
        return False
    known = module.project.__dict__
    if "sockets" not in known:
        known["sockets"] = any(map(_holds_sockets, module.project.files.values()))
    return known["sockets"]


def _holds_sockets(file: Path) -> bool:
    try:
        return bool(SOCKETS.search(file.read_bytes()))
    except OSError:
        return False


def guard(function: ast.AST) -> ast.Compare | None:
    """The comparison of `scope["type"]` in the function's first `if` that makes one."""
    for each in inside(function, ast.If):
        for part in ast.walk(each.test):
            if isinstance(part, ast.Compare) and _is_type(part.left) and len(part.ops) == 1:
                return part
    return None


def excluded(module: Module, function: ast.AST, test: ast.Compare) -> str | None:
    """The comparison as it must be so that WebSockets do not pass; None when they do not."""
    fixed = _fixed(function, test)
    requests = any(
        module.name(each.func) == "fastapi.Request" for each in inside(function, ast.Call)
    )
    # A Request refuses the scope of a WebSocket.
    return f"{fixed}, and HTTPConnection for Request" if fixed and requests else fixed


def _fixed(function: ast.AST, test: ast.Compare) -> str | None:
    kinds = _kinds(test.comparators[0])
    if not kinds or _by_prefix(function) or _by_choice(function):
        return None
    statement = next(each for each in inside(function, ast.If) if test in ast.walk(each.test))
    op = test.ops[0]
    left = ast.unparse(test.left)
    passing = _hands_on(statement, function)
    if isinstance(op, ast.NotEq | ast.NotIn):
        return f'{left} not in ("http", "websocket")' if passing and kinds == {"http"} else None
    if kinds == {"http"} and isinstance(op, ast.Eq | ast.In) and not passing:
        if _asks_for_sockets(function):
            return None
        return f'{left} in ("http", "websocket")'
    if "websocket" in kinds and isinstance(op, ast.Eq | ast.In) and passing:
        return f'{left} == "lifespan"'
    return None


def unguarded(module: Module, function: ast.AST) -> ast.AST | None:
    """The first read of the scope that fails for the lifespan, when nothing before it asks."""
    for each in own(function):
        if isinstance(each, ast.Subscript) and _is_scope(each.value):
            return each if getattr(each.slice, "value", "") in READS else None
        if isinstance(each, ast.Call) and any(map(_is_scope, _arguments(each))):
            return each if module.name(each.func) in READERS else None
        if isinstance(each, ast.Call) and _is_scope(getattr(each.func, "value", None)):
            return None
        if isinstance(each, ast.Compare) and any(map(_is_scope, each.comparators)):
            return None
        if isinstance(each, ast.Try | ast.Match):
            return None
    return None


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(each.value for each in call.keywords)]


def _is_scope(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Name) and node.id == "scope"


def _is_type(node: ast.expr) -> bool:
    if isinstance(node, ast.Subscript):
        return _is_scope(node.value) and getattr(node.slice, "value", "") == "type"
    return (
        isinstance(node, ast.Call)
        and getattr(node.func, "attr", "") == "get"
        and _is_scope(node.func.value)
        and bool(node.args)
        and getattr(node.args[0], "value", "") == "type"
    )


def _kinds(node: ast.expr) -> set[str]:
    parts = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
    return {each.value for each in parts if isinstance(each, ast.Constant)}


def _by_prefix(function: ast.AST) -> bool:
    """Whether the function is about the paths below a prefix, which WebSockets may not have."""
    return any(
        getattr(each.func, "attr", "") == "startswith" and "path" in ast.unparse(each.func)
        for each in inside(function, ast.Call)
    )


def _by_choice(function: ast.AST) -> bool:
    """Whether it is about some methods, which a WebSocket has not, or about some paths alone."""
    return any(
        isinstance(each, ast.Compare)
        and (_of_methods(each) or _of_paths(each, statement, function))
        for statement in inside(function, ast.If)
        for each in ast.walk(statement.test)
    )


def _of_methods(test: ast.Compare) -> bool:
    named = _kinds(test.comparators[0])
    return (
        ast.unparse(test.left).endswith(("scope['method']", ".method"))
        and isinstance(test.ops[0], ast.In | ast.NotIn)
        and (not named or bool(named & {"GET", "POST"}))
    )


def _of_paths(test: ast.Compare, statement: ast.If, function: ast.AST) -> bool:
    if not ast.unparse(test.left).endswith(("scope['path']", ".path")):
        return False
    if isinstance(test.ops[0], ast.In | ast.Eq):
        return _refuses(statement)
    return isinstance(test.ops[0], ast.NotIn | ast.NotEq) and _hands_on(statement, function)


def _refuses(statement: ast.If) -> bool:
    return any(status(each) in REFUSALS for part in statement.body for each in ast.walk(part))


def _asks_for_sockets(function: ast.AST) -> bool:
    """Whether another comparison of the scope's type treats WebSockets."""
    return any(
        _is_type(each.left) and "websocket" in _kinds(each.comparators[0])
        for each in inside(function, ast.Compare)
    )


def _hands_on(statement: ast.If, function: ast.AST) -> bool:
    """Whether the body of an `if` does nothing but hand the scope on and leave."""
    calls = set(passes(function))
    first = statement.body[0]
    return any(each in calls for each in ast.walk(first))
