"""FastAPI's endpoints: which functions of a module answer which paths."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from project.module import FUNCTIONS, Module, arguments, keyword

ROUTERS = ("fastapi.FastAPI", "fastapi.APIRouter")
VERBS = {"get", "post", "put", "patch", "delete", "head", "options", "api_route"}
ADDED = {"add_api_route": "api_route", "add_api_websocket_route": "websocket"}


@dataclass(frozen=True)
class Endpoint:
    """A function, the verb and path it answers, and the call that says so."""

    function: ast.AST
    verb: str
    path: str
    route: ast.Call


@lru_cache(maxsize=4)
def endpoints(module: Module) -> tuple[Endpoint, ...]:
    """The endpoints that a module defines: by decorator, or added by a call."""
    return (*_decorated(module), *_added(module))


def _decorated(module: Module) -> Iterator[Endpoint]:
    for function in module.all(*FUNCTIONS):
        for mark in function.decorator_list:
            if not (isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute)):
                continue
            verb = mark.func.attr
            sockets = verb == "websocket" and websocket_of(module, function)
            if sockets or (verb in VERBS and _is_router(module, mark.func.value)):
                yield Endpoint(function, verb, _path(mark), mark)


def _added(module: Module) -> Iterator[Endpoint]:
    for call in module.all(ast.Call):
        verb = ADDED.get(getattr(call.func, "attr", ""))
        if verb is None or not _is_router(module, call.func.value):
            continue
        endpoint = call.args[1] if len(call.args) > 1 else keyword(call, "endpoint")
        found = module.project.definition(module.name(endpoint))
        if found and found[0] is module and isinstance(found[1], FUNCTIONS):
            yield Endpoint(found[1], verb, _path(call), call)


def websocket_of(module: Module, function: ast.AST) -> str | None:
    """The name of a function's parameter that is a WebSocket, or None."""
    for arg in arguments(function):
        if module.project.annotated(module, arg.annotation) == "fastapi.WebSocket":
            return arg.arg
    return None


def _is_router(module: Module, node: ast.expr) -> bool:
    return module.project.is_a(module.value(node), *ROUTERS)


def _path(route: ast.Call) -> str:
    """The literal parts of a route's path."""
    node = route.args[0] if route.args else keyword(route, "path")
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(
        part.value
        for part in parts
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )
