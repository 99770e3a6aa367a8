"""Middleware: classes and functions that stand around an application."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from project.module import FUNCTIONS, Module, arguments, class_of, inside, keyword, parents

BASE = "starlette.middleware.base.BaseHTTPMiddleware"
CORS = "starlette.middleware.cors.CORSMiddleware"
MIDDLEWARE = "starlette.middleware.Middleware"
EXCEPTIONS = ("fastapi.HTTPException", "starlette.exceptions.HTTPException")
RESPONSES = ("fastapi.responses.", "starlette.responses.", "fastapi.Response")
REFUSALS = (401, 403)


@dataclass(frozen=True)
class Entry:
    """What a request passes on its way in: `dispatch`, a decorated function, `__call__`."""

    function: ast.AST
    kind: str  # "base", "function" or "asgi"
    owner: ast.ClassDef | None = None

    @property
    def name(self) -> str:
        return self.owner.name if self.owner else self.function.name


@dataclass(frozen=True)
class Addition:
    """A call that puts a middleware around an application, and the middleware."""

    call: ast.Call
    middleware: ast.expr


@lru_cache(maxsize=4)
def entries(module: Module) -> tuple[Entry, ...]:
    """The entries of the middlewares that a module defines."""
    return (*_classes(module), *_decorated(module), *_asgi(module))


def bases(module: Module) -> Iterator[ast.ClassDef]:
    """The classes that inherit from BaseHTTPMiddleware themselves."""
    for each in module.all(ast.ClassDef):
        if any(module.name(base) == BASE for base in each.bases):
            yield each


def decorators(module: Module) -> Iterator[ast.Call]:
    """The calls `app.middleware("http")`."""
    for call in module.all(ast.Call):
        kind = call.args[0] if call.args else keyword(call, "middleware_type")
        named = getattr(call.func, "attr", "") == "middleware"
        if named and isinstance(kind, ast.Constant) and kind.value == "http":
            yield call


def additions(module: Module) -> Iterator[Addition]:
    """The calls of `add_middleware` and of `Middleware`."""
    for call in module.all(ast.Call):
        added = getattr(call.func, "attr", "") == "add_middleware"
        if added or module.name(call.func) == MIDDLEWARE:
            middleware = call.args[0] if call.args else keyword(call, "middleware_class")
            middleware = middleware or keyword(call, "cls")
            if middleware is not None:
                yield Addition(call, middleware)


def passes(entry: ast.AST) -> list[ast.Call]:
    """The calls by which an ASGI entry hands its scope on."""
    return [
        call
        for call in inside(entry, ast.Call)
        if len(call.args) == 3
        and isinstance(call.func, ast.Attribute | ast.Name)
        and getattr(call.args[0], "id", "") == "scope"
    ]


def refuses(module: Module, node: ast.AST, depth: int = 0) -> bool:
    """Whether code, or a function of the module that it calls, answers 401 or 403."""
    for each in ast.walk(node):
        if status(each) in REFUSALS and not _observed(each):
            return True
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name) and depth < 1:
            found = module.project.definition(module.name(each.func))
            mine = found and found[0] is module and isinstance(found[1], FUNCTIONS)
            if mine and refuses(module, found[1], depth + 1):
                return True
    return False


def _observed(node: ast.AST) -> bool:
    """Whether a status is compared with, or answers an error of the application within."""
    below = node
    for above in parents(node):
        if isinstance(above, ast.Compare):
            return True
        tried = above.body if isinstance(above, ast.Try) and below.slot == "handlers" else []
        if any(
            getattr(each, "id", "") in ("scope", "call_next")
            for statement in tried
            for each in ast.walk(statement)
        ):
            return True
        if isinstance(above, FUNCTIONS):
            return False
        below = above
    return False


def status(node: ast.AST | None) -> int | None:
    """The HTTP status that an expression names: 401, or `status.HTTP_401_UNAUTHORIZED`."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value if 100 <= node.value < 600 else None
    name = getattr(node, "attr", getattr(node, "id", ""))
    head, _, rest = name.partition("_")
    digits, _, _ = rest.partition("_")
    if (head == "HTTP" and digits.isdigit()) or name in ("UNAUTHORIZED", "FORBIDDEN"):
        return {"UNAUTHORIZED": 401, "FORBIDDEN": 403}.get(name) or int(digits)
    return None


def is_response(module: Module, call: ast.AST) -> bool:
    """Whether a call makes a Response of Starlette's or of the project's."""
    if not isinstance(call, ast.Call):
        return False
    name = module.name(call.func) or ""
    if ":" not in name:
        return name.startswith(RESPONSES) and name.endswith("Response")
    kinds = [f"{home}.responses.{kind}" for home in ("starlette", "fastapi") for kind in KINDS]
    return module.project.is_a(name, *kinds)


KINDS = ("Response", "JSONResponse", "PlainTextResponse", "ORJSONResponse", "HTMLResponse")


def answers(module: Module, node: ast.AST) -> bool:
    """Whether code makes a Response with a status of 4xx."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            named = keyword(call, "status_code")
            codes = [status(each) for each in (*call.args[1:2], named)]
            if any(code and 400 <= code < 500 for code in codes) and is_response(module, call):
                return True
    return False


def methods(owner: ast.ClassDef) -> dict[str, ast.AST]:
    """The methods of a class by name."""
    return {each.name: each for each in owner.body if isinstance(each, FUNCTIONS)}


def _classes(module: Module) -> Iterator[Entry]:
    for each in module.all(ast.ClassDef):
        function = methods(each).get("dispatch")
        if function and module.project.is_a(module.project.named(module, each), BASE):
            yield Entry(function, "base", each)


def decorated(module: Module, call: ast.Call) -> ast.AST | None:
    """The function that `app.middleware("http")` is given, by a decorator or by a call."""
    if call.slot == "decorator_list":
        return call.parent if isinstance(call.parent, FUNCTIONS) else None
    if call.slot == "func" and call.parent.args:
        found = module.project.definition(module.name(call.parent.args[0]))
        return found[1] if found and isinstance(found[1], FUNCTIONS) else None
    return None


def _decorated(module: Module) -> Iterator[Entry]:
    given = {decorated(module, call) for call in decorators(module)}
    for function in module.all(*FUNCTIONS):
        names = [each.arg for each in arguments(function) if each.arg != "self"]
        named = names == ["request", "call_next"] and function.name != "dispatch"
        if function in given or named:
            yield Entry(function, "function")
    for call in module.all(ast.Call):
        dispatch = keyword(call, "dispatch") if call.args else None
        if dispatch is not None and module.name(call.args[0]) == BASE:
            found = module.project.definition(module.name(dispatch))
            if found and found[0] is module and isinstance(found[1], FUNCTIONS):
                yield Entry(found[1], "function")


def _asgi(module: Module) -> Iterator[Entry]:
    for function in module.all(ast.AsyncFunctionDef):
        last = [each.arg for each in arguments(function)][-3:]
        if last != ["scope", "receive", "send"] or not passes(function):
            continue
        owner = class_of(function) if function.name == "__call__" else None
        if owner is None or isinstance(function.parent, ast.ClassDef):
            yield Entry(function, "asgi", owner)
