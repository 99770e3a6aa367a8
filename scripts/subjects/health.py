"""Health endpoints: which paths an orchestrator asks, and what their handlers answer."""

import ast
import re
from collections.abc import Iterator

from project.module import Module, arguments, inside

from subjects.endpoints import Endpoint, endpoints

READY = re.compile(r"(^|[/_-])(ready|readyz|readiness)([/_-]|$)")
LIVE = re.compile(r"(^|[/_-])(live|livez|liveness|alive|ping|health|healthz|healthcheck)/?$")
PLAIN = {"builtins.dict", "builtins.str", "datetime.datetime.now", "time.time", "time.monotonic"}
GOOD = {"ok", "up", "ready", "healthy", "alive", "degraded"}
ASKED = {"get", "head", "api_route"}


def readiness(module: Module) -> Iterator[Endpoint]:
    """The endpoints that tell whether traffic may come."""
    for each in endpoints(module):
        if each.verb in ASKED and READY.search(each.path):
            yield each


def liveness(module: Module) -> Iterator[Endpoint]:
    """The endpoints that tell whether a process is alive."""
    for each in endpoints(module):
        if each.verb in ASKED and LIVE.search(each.path) and not READY.search(each.path):
            yield each


def hidden_failures(module: Module, function: ast.AST) -> Iterator[ast.Return]:
    """The `return`s that answer 200 from the handler of an exception."""
    annotated = {
        (module.project.annotated(module, arg.annotation) or "").rpartition(".")[2]
        for arg in arguments(function)
    }
    if "Response" in annotated:
        return  # sets its status there
    for handler in inside(function, ast.ExceptHandler):
        for node in inside(handler, ast.Return):
            if _is_fine(module, node.value) and not _on_purpose(node):
                yield node


def _is_fine(module: Module, value: ast.expr | None) -> bool:
    """Whether FastAPI answers a value with 200."""
    if isinstance(value, ast.Constant | ast.Dict | ast.JoinedStr):
        return True
    if not isinstance(value, ast.Call):
        return False
    name = module.name(value.func) or ""
    return name in PLAIN or (":" in name and "Response" not in _bases(module, name))


def _on_purpose(answer: ast.Return) -> bool:
    """Whether an answer says that traffic may come, without what failed."""
    words = {node.value for node in inside(answer, ast.Constant) if isinstance(node.value, str)}
    return not GOOD.isdisjoint(word.lower() for word in words)


def _bases(module: Module, name: str) -> str:
    """The names of a class of the project and of its bases; "Response" when it is no class."""
    found = module.project.definition(name)
    if not found or not isinstance(found[1], ast.ClassDef):
        return "Response"
    return " ".join(ast.unparse(each) for each in found[1].bases)


def idle(module: Module, function: ast.AST) -> bool:
    """Whether a function only makes a value: nothing in it can wait."""
    for node in inside(function):
        if isinstance(node, ast.With | ast.For | ast.While | ast.Yield | ast.YieldFrom):
            return False
        if isinstance(node, ast.Call) and not _makes(module, node):
            return False
    return True


def _makes(module: Module, call: ast.Call) -> bool:
    name = module.name(call.func) or ""
    if name in PLAIN or name.rpartition(".")[2].endswith("Response"):
        return True
    found = module.project.definition(name)
    if found and isinstance(found[1], ast.ClassDef):
        return module.project.is_a(name, "pydantic.BaseModel") or not found[1].body
    return ast.unparse(call.func).startswith(("logger.", "log.", "logging."))
