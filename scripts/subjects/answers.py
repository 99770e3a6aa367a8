"""Answers to HTTP requests: whether they are read, and what is caught around the request."""

import ast
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, function_of, keyword, own, parents, statement_of

from subjects.clients import AIOHTTP, HTTPX, VERBS, requests_in
from subjects.occasions import escapes, looped, uses

READS = {"read", "text", "json", "release", "close", "content", "wait_for_close", "iter_chunked"}
LOST = {"aiohttp.ClientError", "aiohttp.client_exceptions.ClientError"}
CATCH_ALL = {"builtins.TimeoutError", "builtins.OSError", "builtins.Exception"}
CATCH_ALL |= {"builtins.BaseException"}
LOSSES = {
    *("aiohttp.ClientError", "aiohttp.ClientConnectionError", "aiohttp.ServerDisconnectedError"),
    *("aiohttp.ClientOSError", "builtins.TimeoutError", "builtins.Exception"),
    *(
        f"{home}.{name}"
        for home in ("httpx", "httpx2")
        for name in ("HTTPError", "RequestError", "TransportError", "TimeoutException")
    ),
    *(f"{home}.{name}" for home in ("httpx", "httpx2") for name in ("ReadTimeout", "NetworkError")),
}

RETRIES = {"tenacity.retry", "stamina.retry", "backoff.on_exception"}


def unread(module: Module) -> Iterator[tuple[ast.Call, str, bool]]:
    """Requests whose answer a name holds and nothing surely reads: call, name, whether never."""
    for call in requests_in(module, AIOHTTP):
        holder = call.parent.parent if isinstance(call.parent, ast.Await) else None
        target = holder.targets[0] if isinstance(holder, ast.Assign) else None
        function = function_of(call)
        if not isinstance(target, ast.Name) or function is None or escapes(function, target.id):
            continue
        if call.func.attr == "head":  # an answer without a body gives its connection back
            continue
        if _closed_after(module, call):
            continue
        found = list(uses(function, target.id))
        if any(isinstance(use.parent, ast.withitem) for use in found):
            continue
        reads = [use for use in found if getattr(use.parent, "attr", "") in READS]
        if not reads:
            yield call, target.id, True
        elif not any(_always(use, holder) for use in reads) and len(reads) == 1:
            yield call, target.id, False


def _closed_after(module: Module, call: ast.Call) -> bool:
    """Whether the session of a request is opened for it alone, and closed next."""
    name = getattr(call.func.value, "id", "")
    for above in parents(call):
        if isinstance(above, FUNCTIONS):
            return False
        for item in above.items if isinstance(above, ast.AsyncWith) else ():
            opener = item.context_expr
            opens = isinstance(opener, ast.Call) and module.name(opener.func) == AIOHTTP
            if opens and getattr(item.optional_vars, "id", None) == name:
                named = [each for each in ast.walk(above) if getattr(each, "id", "") == name]
                return len(named) == 2 and not looped(call, above)
    return False


def _always(use: ast.AST, since: ast.stmt) -> bool:
    """Whether no branch that begins after a statement decides that something is evaluated."""
    around = set(map(id, parents(since)))
    below: ast.AST = use
    for above in parents(use):
        if id(above) in around or isinstance(above, FUNCTIONS):
            return True
        if isinstance(above, ast.ExceptHandler | ast.match_case):
            return False
        if isinstance(above, ast.If | ast.IfExp) and below.slot != "test":
            return False
        below = above
    return True


def caught_alone(module: Module) -> Iterator[tuple[ast.ExceptHandler, list[ast.expr]]]:
    """Handlers of aiohttp's ClientError around a request whose TimeoutError nothing catches."""
    for handler in module.all(ast.ExceptHandler):
        kinds = types(handler)
        if not any(module.name(kind) in LOST for kind in kinds):
            continue
        if isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None:
            continue
        tried = handler.parent
        if not isinstance(tried, ast.Try):
            continue
        if any(_catches_all(module, each) for each in _around(tried)):
            continue
        if _requests(module, tried):
            yield handler, kinds


def types(handler: ast.ExceptHandler) -> list[ast.expr]:
    """The exceptions that a handler names."""
    kind = handler.type
    return kind.elts if isinstance(kind, ast.Tuple) else [kind] if kind is not None else []


def _around(tried: ast.AST) -> Iterator[ast.AST]:
    """A `try` and those around it, in one function, whose handlers see what it raises."""
    yield tried
    below = tried
    for above in parents(tried):
        if isinstance(above, FUNCTIONS):
            return
        if isinstance(above, ast.Try | ast.With | ast.AsyncWith) and below.slot == "body":
            yield above
        below = above


def _catches_all(module: Module, block: ast.AST) -> bool:
    if isinstance(block, ast.With | ast.AsyncWith):
        calls = (item.context_expr for item in block.items)
        named = (each for each in calls if isinstance(each, ast.Call))
        return any(module.name(each.func) == "contextlib.suppress" for each in named)
    return any(
        handler.type is None or any(module.name(each) in CATCH_ALL for each in types(handler))
        for handler in block.handlers
    )


def _requests(module: Module, tried: ast.AST) -> bool:
    holder = ast.Module(body=tried.body, type_ignores=[])
    return any(
        isinstance(each, ast.Call)
        and isinstance(each.func, ast.Attribute)
        and each.func.attr in VERBS
        and _is_aiohttp(module, each)
        for each in own(holder)
    )


def _is_aiohttp(module: Module, call: ast.Call) -> bool:
    """Whether aiohttp sends a request: by class, or by a block or name where that is unknown."""
    owner = call.func.value
    kind = module.value(owner)
    block = isinstance(call.parent, ast.withitem) and isinstance(call.parent.parent, ast.AsyncWith)
    named = getattr(owner, "attr", getattr(owner, "id", "")).endswith("session")
    awaited = isinstance(call.parent, ast.Await)
    return kind == AIOHTTP or (kind is None and (block or (named and awaited)))


def repeated(module: Module) -> Iterator[tuple[ast.Call, bool]]:
    """Requests that a loop repeats after a lost answer, and whether of any method."""
    for call in requests_in(module, AIOHTTP, *HTTPX):
        tried, loop = _attempt(call)
        if tried is None or loop is None or not _goes_on(module, tried):
            continue
        function = function_of(call)
        if function is not None and "idempot" in _said(function):
            continue
        method = _method(call)
        if _renewed(module, function, method, loop):
            continue
        if isinstance(method, ast.Name) and f"{method.id.lower()} " not in _tests(function):
            yield call, True
        elif call.func.attr == "post":
            yield call, False
    yield from _decorated(module)


def _renewed(
    module: Module, function: ast.AST | None, method: ast.expr | None, loop: ast.AST
) -> bool:
    """Whether each round of a loop asks for something else, as a load generator does."""
    named = method.id if function is not None and isinstance(method, ast.Name) else ""
    bound = module.bindings(function).get(named, ()) if named else ()
    return any(loop in parents(each) for each in bound)


def _decorated(module: Module) -> Iterator[tuple[ast.Call, bool]]:
    """POSTs in functions that a decorator calls again after a lost answer."""
    for call in requests_in(module, AIOHTTP, *HTTPX):
        function = function_of(call)
        marks = function.decorator_list if isinstance(function, FUNCTIONS) else ()
        again = any(_calls_again(module, each) for each in marks)
        if call.func.attr == "post" and again and "idempot" not in _said(function):
            yield call, False


def _calls_again(module: Module, mark: ast.expr) -> bool:
    """Whether a decorator repeats a call after an error by which an answer may be lost."""
    name = module.name(mark.func if isinstance(mark, ast.Call) else mark)
    if name not in RETRIES:
        return False
    named = {
        module.name(each) for each in ast.walk(mark) if isinstance(each, ast.Name | ast.Attribute)
    }
    if name == "tenacity.retry" and not (isinstance(mark, ast.Call) and keyword(mark, "retry")):
        return True
    return bool(named & LOSSES)


def _said(function: ast.AST) -> str:
    if not hasattr(function, "said"):
        function.said = ast.unparse(function).lower()
    return function.said


def _attempt(call: ast.Call) -> tuple[ast.Try | None, ast.AST | None]:
    tried: ast.Try | None = None
    below: ast.AST = call
    for above in parents(call):
        if isinstance(above, FUNCTIONS):
            break
        if isinstance(above, ast.Try) and below.slot == "body" and tried is None:
            tried = above
        if isinstance(above, ast.For | ast.While) and tried is not None:
            counts = isinstance(above, ast.While) or _counts(above)
            return tried, above if counts else None
        below = above
    return tried, None


def _counts(loop: ast.For) -> bool:
    return isinstance(loop.iter, ast.Call) and getattr(loop.iter.func, "id", "") == "range"


def _goes_on(module: Module, tried: ast.Try) -> bool:
    for handler in tried.handlers:
        lost = any(module.name(kind) in LOSSES for kind in types(handler))
        if lost and not isinstance(handler.body[-1], ast.Raise | ast.Return | ast.Break):
            return True
    return False


def _method(call: ast.Call) -> ast.expr | None:
    if call.func.attr != "request":
        return None
    return call.args[0] if call.args else keyword(call, "method")


def _tests(function: ast.AST | None) -> str:
    """What the conditions of a function compare, as text."""
    nodes = own(function) if function is not None else ()
    return " ".join(
        ast.unparse(each).lower() + " " for each in nodes if isinstance(each, ast.Compare)
    )


def reused_bodies(module: Module) -> Iterator[tuple[ast.keyword, ast.expr]]:
    """Bodies that are used up by the first attempt of a loop: the keyword, what made the body."""
    for call in requests_in(module, AIOHTTP, *HTTPX):
        _, loop = _attempt(call)
        function = function_of(call)
        for each in call.keywords if loop is not None else ():
            if each.arg not in ("data", "content") or not isinstance(each.value, ast.Name):
                continue
            made = _made(module, function, each.value.id)
            if made is not None and loop not in parents(made):
                yield each, made


def _made(module: Module, function: ast.AST, name: str) -> ast.expr | None:
    bound = module.bindings(function).get(name, ())
    source = getattr(statement_of(bound[0]), "value", None) if len(bound) == 1 else None
    if len(bound) == 1 and isinstance(bound[0].parent, ast.withitem):
        source = bound[0].parent.context_expr
    if not isinstance(source, ast.Call):
        return None
    if module.name(source.func) in ("builtins.open", "io.BytesIO", "io.StringIO"):
        return source
    found = module.project.definition(module.name(source.func))
    yields = found is not None and isinstance(found[1], ast.AsyncFunctionDef)
    return source if yields and any(isinstance(e, ast.Yield) for e in own(found[1])) else None
