"""When code runs: once in a process, or for each request."""

import ast
import re
from collections import defaultdict

from project.module import (
    COMPREHENSIONS,
    FUNCTIONS,
    Module,
    arguments,
    class_of,
    function_of,
    own,
    parents,
)

ONCE = re.compile(
    r"^_*(?:a?main|run|(?:async_|run_|amain_)?main|(?:on_|app_)?startup.*|(?:on_)?shutdown.*"
    r"|(?:async_)?(?:setup|initiali[sz]e|init|bootstrap|lifespan|seed|serve|cli|connect|start)"
    r"(?:_.*)?|__a?enter__|__init__|warm_?up.*"
    r"|wait_(?:for|until)_(?:.*_)?(?:server|services?|database|db|backend)(?:_.*)?)$"
)
CACHES = {
    *("functools.lru_cache", "functools.cache", "functools.cached_property"),
    *("async_lru.alru_cache", "cachetools.cached", "aiocache.cached", "asyncache.cached"),
}
RUNNERS = {"asyncio.run", "anyio.run", "uvloop.run", "trio.run"}
ROUTES = {
    *("get", "post", "put", "patch", "delete", "head", "options", "trace"),
    *("api_route", "route", "websocket", "websocket_route", "view"),
}
APPLICATIONS = {"aiohttp.web.Application", "fastapi.FastAPI", "starlette.applications.Starlette"}
REQUESTS = {
    *("fastapi.Request", "fastapi.WebSocket", "aiohttp.web.Request", "aiohttp.web_request.Request"),
    *("starlette.requests.HTTPConnection", "fastapi.requests.HTTPConnection"),
}


def request_function(module: Module, node: ast.AST) -> ast.AST | None:
    """The function around a node that runs for each request, or None.

    That is an endpoint, a provider (also the class of one), or what takes the request itself.
    """
    function = function_of(node)
    while function is not None:
        if isinstance(function, FUNCTIONS) and not is_cached(module, function):
            if is_endpoint(module, function) or _is_provided(module, function):
                return function
            if _takes_request(module, function):
                return function
        function = function_of(function)
    return None


def opens_for_requests(module: Module, function: ast.AST | None) -> bool:
    """Whether what a helper returns is entered by blocks of this module that run for each request.

    By these alone: what is also called elsewhere may be kept there.
    """
    if not isinstance(function, FUNCTIONS) or is_cached(module, function):
        return False
    bound = module.bindings(module.tree).get(function.name, ())
    named = [each for each in module.all(ast.Name) if each.id == function.name]
    return (
        list(bound) == [function] and bool(named) and all(_enters(module, each) for each in named)
    )


def _enters(module: Module, name: ast.Name) -> bool:
    above: ast.AST = name
    while isinstance(above.parent, ast.Call) and above.slot == "func":
        above = above.parent
    entered = isinstance(above, ast.Call) and isinstance(above.parent, ast.withitem)
    return entered and request_function(module, name) is not None


def is_endpoint(module: Module, function: ast.AST) -> bool:
    """Whether a function is decorated as a route of FastAPI, Starlette or aiohttp."""
    return any(
        isinstance(mark, ast.Call)
        and isinstance(mark.func, ast.Attribute)
        and mark.func.attr in ROUTES
        and _is_route(module, mark)
        for mark in function.decorator_list
    )


def _is_route(module: Module, mark: ast.Call) -> bool:
    if module.value(mark.func.value) in ("fastapi.FastAPI", "fastapi.APIRouter"):
        return True
    path = mark.args[0] if mark.args else None
    return isinstance(path, ast.Constant) and str(path.value).startswith("/")


def _is_provided(module: Module, function: ast.AST) -> bool:
    if module.project.is_provider(function, module):
        return True
    if _hands_out(module, function):
        return True
    owner = class_of(function)
    return (
        owner is not None
        and function.name in ("__init__", "__call__")
        and function_of(function) is None
        and module.project.named(module, owner) in module.project.facts.providers
    )


def _hands_out(module: Module, function: ast.AST) -> bool:
    """Whether it looks like a provider: a plain async generator that yields one value, once.

    What aiohttp's `cleanup_ctx` or a container of resources runs looks alike, and runs once.
    """
    plain = isinstance(function, ast.AsyncFunctionDef) and not function.decorator_list
    if not plain or class_of(function) is not None or ONCE.match(function.name):
        return False
    if b"cleanup_ctx" in module.source or b"Resource(" in module.source:
        return False
    kinds = {module.project.annotated(module, arg.annotation) for arg in arguments(function)}
    if not kinds.isdisjoint(APPLICATIONS) or function.returns is None:
        return False
    if not hasattr(function, "nodes"):
        kinds = (ast.Yield, ast.For, ast.AsyncFor, ast.While)
        function.nodes = [each for each in own(function) if isinstance(each, kinds)]
    nodes = function.nodes
    yields = [each for each in nodes if isinstance(each, ast.Yield)]
    loops = (ast.For, ast.AsyncFor, ast.While)
    return (
        len(yields) == 1
        and yields[0].value is not None
        and not any(isinstance(each, loops) for each in nodes)
    )


def is_own_field(target: ast.expr, served: ast.AST | None) -> bool:
    """Whether it is `self.x` in the `__init__` of a class that is made for each request."""
    return (
        isinstance(target, ast.Attribute)
        and getattr(target.value, "id", "") == "self"
        and getattr(served, "name", "") == "__init__"
    )


def _takes_request(module: Module, function: ast.AST) -> bool:
    return any(
        module.project.annotated(module, arg.annotation) in REQUESTS
        or module.project.injection(module, function, arg) is not None
        for arg in arguments(function)
    )


def is_cached(module: Module, function: ast.AST) -> bool:
    """Whether a function runs once for given arguments, by its decorator."""
    marks = (mark.func if isinstance(mark, ast.Call) else mark for mark in function.decorator_list)
    return any(
        module.name(mark) in CACHES or "cache" in ast.unparse(mark).lower() for mark in marks
    )


def runs_once(module: Module, node: ast.AST) -> bool:
    """Whether code seems to run once in a process: at import, at startup, or behind a cache."""
    function = function_of(node)
    if not isinstance(function, FUNCTIONS):
        return True
    started = run_by_hand(module)
    while function is not None:
        if isinstance(function, FUNCTIONS) and (
            ONCE.match(function.name)
            or function.name in started
            or is_cached(module, function)
            or module.project.is_lifespan(function, module)
            or any("on_event" in ast.unparse(mark) for mark in function.decorator_list)
        ):
            return True
        function = function_of(function)
    return _is_guarded(node) or _is_remembered(node)


def run_by_hand(module: Module) -> set[str]:
    """Names of functions that the module hands to `asyncio.run`."""
    return {
        each.id
        for call in module.calls(*RUNNERS)
        for argument in call.args[:1]
        for each in ast.walk(argument)
        if isinstance(each, ast.Name)
    }


def _is_guarded(node: ast.AST) -> bool:
    """Whether it stands in `if x is None:` or `if key not in x:`, which keeps what was made."""
    for above in parents(node):
        if isinstance(above, FUNCTIONS):
            return False
        if isinstance(above, ast.If) and _asks_for_absence(above.test):
            return True
    return False


def _asks_for_absence(test: ast.expr) -> bool:
    return any(
        isinstance(getattr(each, "op", None), ast.Not)
        or isinstance(getattr(each, "ops", [None])[0], ast.NotIn | ast.Is)
        for each in ast.walk(test)
    )


def _is_remembered(node: ast.AST) -> bool:
    """Whether the function begins by returning what an attribute already holds."""
    function = function_of(node)
    return any(
        isinstance(statement, ast.If)
        and isinstance(statement.body[0], ast.Return)
        and isinstance(_asked(statement.test), ast.Attribute)
        for statement in function.body[:3]
    )


def _asked(test: ast.expr) -> ast.expr:
    """What is asked for in `x`, `x is not None` or `x and not expired`."""
    if isinstance(test, ast.BoolOp):
        test = test.values[0]
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.IsNot):
        test = test.left
    return test


def uses(function: ast.AST, name: str) -> list[ast.Name]:
    """Where a local name is read in a function and in the functions within."""
    if not hasattr(function, "reads"):
        function.reads = _reads(function)
    return function.reads.get(name, [])


def _reads(function: ast.AST) -> dict[str, list[ast.Name]]:
    found: dict[str, list[ast.Name]] = defaultdict(list)
    scopes = [function]
    while scopes:
        for node in own(scopes.pop()):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                found[node.id].append(node)
            elif isinstance(node, (*FUNCTIONS, ast.Lambda)):
                scopes.append(node)
    return dict(found)


def shares(module: Module, function: ast.AST, name: str) -> bool:
    """Whether a function declares a name as `global` or `nonlocal`."""
    if not hasattr(module, "shared"):
        module.shared = {
            (function_of(each), shared)
            for each in module.all(ast.Global, ast.Nonlocal)
            for shared in each.names
        }
    return (function, name) in module.shared


def repeats(module: Module, function: ast.AST) -> bool:
    """Whether a function holds a `while` loop."""
    if not hasattr(module, "repeating"):
        module.repeating = {function_of(each) for each in module.all(ast.While)}
    return function in module.repeating


def escapes(function: ast.AST, name: str) -> bool:
    """Whether what a local name holds leaves the function: returned, stored, or passed on."""
    return any(_leaves(use) for use in uses(function, name))


def _leaves(use: ast.Name) -> bool:
    kinds = (ast.Attribute, ast.withitem, ast.Compare, ast.If, ast.UnaryOp, ast.BoolOp)
    return not isinstance(use.parent, kinds)


LOOPS = (
    ast.For,
    ast.AsyncFor,
    ast.While,
    *COMPREHENSIONS,
    ast.comprehension,
    *FUNCTIONS,
    ast.Lambda,
)


def looped(node: ast.AST, block: ast.AST, *kinds: type[ast.AST]) -> bool:
    """Whether a node stands in a loop, a comprehension or a function within a block."""
    for above in parents(node):
        if above is block:
            return False
        if isinstance(above, kinds or LOOPS):
            return True
    return False
