"""What can be seen in code of rules/fastapi/middleware.md."""

import ast
from collections.abc import Iterator

from checks import Report, check
from project.module import Module, keyword, parents
from subjects.accesslog import unguarded_log
from subjects.corsorder import answering, ordered
from subjects.errorhandlers import VALIDATION, parameter, registrations, repeated, returned
from subjects.middlewares import (
    BASE,
    CORS,
    EXCEPTIONS,
    additions,
    bases,
    decorated,
    decorators,
    entries,
    passes,
    refuses,
)
from subjects.raising import instead_of_raise, raised
from subjects.scopes import accepts_sockets, excluded, guard, unguarded
from subjects.validators import telling

BELOW = "below it a failed stream ends as if complete and `is_disconnected()` stays False"

ANYTHING = {".*", "^.*$", ".+", "^.+$", "https?://.*", "^https?://.*$"}


@check("BaseHTTPMiddleware", ".middleware(")
def basehttpmiddleware_anywhere(module: Module) -> Iterator[Report]:
    """Every class, decorator and call that puts one around an application."""
    for owner in bases(module):
        yield _base(owner, owner.name, refuses(module, owner))
    for call in decorators(module):
        function = decorated(module, call)
        given = call.parent.args if call.slot == "func" else []
        name = function.name if function is not None else ast.unparse((*given, call.parent)[0])
        yield _base(call, name, function is not None and refuses(module, function))
    for each in additions(module):
        if module.name(each.middleware) == BASE:
            given = keyword(each.call, "dispatch")
            found = module.project.definition(module.name(given)) if given else None
            refusing = found is not None and refuses(found[0], found[1])
            yield _base(each.call, ast.unparse(given or each.call), refusing)


def _base(node: ast.AST, name: str, refusing: bool) -> Report:
    message = f"`{name}` lets WebSockets pass, and {BELOW}" if refusing else f"`{name}`: {BELOW}"
    if isinstance(node, ast.ClassDef):
        return Report(node, message, f"class {name}: with __call__(self, scope, receive, send)")
    return Report(
        node, message, "add_middleware of a class with __call__(self, scope, receive, send)"
    )


@check("call_next")
def one_access_line_per_request(module: Module) -> Iterator[Report]:
    """A log line about the response that is written only when `call_next` returns."""
    for entry in entries(module):
        log = unguarded_log(entry) if entry.kind != "asgi" else None
        if log is not None:
            yield Report(
                log,
                "a request that crashes leaves no line here, for `call_next` raises",
                f"in `finally` of an ASGI class: {ast.unparse(log)}",
            )


@check("CORSMiddleware")
def cors_around_everything(module: Module) -> Iterator[Report]:
    """CORS, and around it a middleware that answers requests itself."""
    for group in ordered(module):
        for place, cors in enumerate(group):
            if module.name(cors.middleware) != CORS:
                continue
            outer = next((each for each in group[place + 1 :] if answering(module, each)), None)
            if outer is not None:
                name = outer.name
                yield Report(
                    cors.call,
                    f"what `{name}` answers has no CORS headers, for `{name}` is around this",
                    f"CORSMiddleware around `{name}`: {cors.advice}",
                )


@check("exception_handler", "add_exception_handler", "exception_handlers")
def problem_details_without_inputs(module: Module) -> Iterator[Report]:
    """Handlers that miss the router's errors, lose headers, or send inputs back."""
    found = list(registrations(module))
    kinds = [module.name(each.kind) for each in found]
    covered = "starlette.exceptions.HTTPException" in kinds or any(
        getattr(each.kind, "value", None) == 404 for each in found
    )
    for each, kind in zip(found, kinds, strict=True):
        if kind == "fastapi.HTTPException" and not covered:
            yield Report(
                each.node,
                "the router's own 404 and 405 are Starlette's HTTPException, which this misses",
                _starlettes(each.node, each.kind),
            )
        error = parameter(each.handler) if each.handler is not None else None
        if error and kind in EXCEPTIONS:
            yield from _headerless(module, each.handler, error)
        if error and kind in VALIDATION:
            for place in repeated(module, each.handler, error):
                written = ast.unparse(place)
                chosen = f'[{{"loc": e["loc"], "msg": e["msg"]}} for e in {error}.errors()]'
                yield Report(
                    place,
                    f"`{written}` repeats what the client sent, passwords too",
                    f"nothing of `{written}`" if isinstance(place, ast.Attribute) else chosen,
                )


def _starlettes(node: ast.AST, kind: ast.expr) -> str:
    if node is kind:
        return f"starlette.exceptions.HTTPException, for {ast.unparse(kind)}"
    named = [each for each in node.keywords if each.value is not kind]
    arguments = [*map(ast.unparse, node.args[1:]), *map(ast.unparse, named)]
    mark = "@" if node.slot == "decorator_list" else ""
    whole = ", ".join(["starlette.exceptions.HTTPException", *arguments])
    return f"{mark}{ast.unparse(node.func)}({whole})"


def _headerless(module: Module, handler: ast.AST, error: str) -> Iterator[Report]:
    responses = list(returned(module, handler))
    if any(
        isinstance(each, ast.Attribute) and each.attr == "headers" for each in ast.walk(handler)
    ):
        return
    for response in responses:
        told = any(
            isinstance(each, ast.Attribute)
            and each.attr == "status_code"
            and getattr(each.value, "id", "") == error
            for each in ast.walk(response)
        )
        if told and not keyword(response, "headers") and len(response.args) < 3:
            whole = ast.unparse(response)
            yield Report(
                response,
                f"`{error}.headers` is lost: a 401 names no scheme, a 405 no methods",
                f"{whole[:-1]}, headers={error}.headers)",
            )


@check('["type"]', "['type']", '"headers"', "'headers'", "(scope")
def auth_behind_an_http_guard(module: Module) -> Iterator[Report]:
    """A guard that lets WebSockets by the auth behind it, or none before the scope is read."""
    for entry in entries(module):
        if entry.kind != "asgi":
            continue
        test = guard(entry.function)
        fixed = excluded(module, entry.function, test) if test is not None else None
        if fixed is not None and refuses(module, entry.owner or entry.function):
            message = f"`{entry.name}` refuses requests and lets every WebSocket pass"
            yield Report(test, message, fixed, hint=not accepts_sockets(module))
        named = entry.owner and module.project.named(module, entry.owner)
        if named in module.project.facts.middleware:
            read = unguarded(module, entry.function)
            if read is not None:
                app = ast.unparse(passes(entry.function)[0].func)
                yield Report(
                    read,
                    f"`{ast.unparse(read)}` raises for the lifespan, which then never runs",
                    f'if scope["type"] not in ("http", "websocket"): '
                    f"return await {app}(scope, receive, send)",
                )


@check("HTTPException")
def httpexception_in_a_middleware(module: Module) -> Iterator[Report]:
    """One that is raised outside of the application's exception handlers."""
    for entry in entries(module):
        for node in raised(module, entry):
            yield Report(
                node,
                f"no handler of the app sees what `{entry.name}` raises: the client gets a 500",
                instead_of_raise(entry, node),
            )


@check("allow_credentials")
def wildcard_origin_with_credentials(module: Module) -> Iterator[Report]:
    """Every origin, with cookies."""
    for call in module.all(ast.Call):
        credentials = keyword(call, "allow_credentials")
        if not (isinstance(credentials, ast.Constant) and credentials.value is True):
            continue
        origins = keyword(call, "allow_origins")
        cors = [module.name(each) for each in (call.func, *call.args[:1])]
        pattern = keyword(call, "allow_origin_regex")
        if getattr(pattern, "value", None) in ANYTHING and CORS in cors:
            origins = pattern
        elif origins is None or CORS not in cors or not _everyone(module, call, origins):
            continue
        if origins is not None:
            yield Report(
                origins,
                "every site may send requests with the user's cookies, and read the answers",
                'allow_origins=["https://..."], each origin by name',
            )


def _everyone(module: Module, call: ast.Call, node: ast.expr) -> bool:
    if isinstance(node, ast.Name):
        scope = next((each for each in parents(call) if node.id in _names(module, each)), None)
        bound = module.bindings(scope)[node.id] if scope is not None else []
        holder = bound[0].parent if len(bound) == 1 else None
        if not isinstance(holder, ast.Assign | ast.AnnAssign) or holder.value is None:
            return False
        node = holder.value
    stars = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else []
    return any(isinstance(each, ast.Constant) and each.value == "*" for each in stars)


def _names(module: Module, scope: ast.AST) -> dict[str, list[ast.AST]]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Module)
    return module.bindings(scope) if isinstance(scope, kinds) else {}


@check("addFilter")
def no_id_in_log_lines(module: Module) -> Iterator[Report]:
    """A filter on the root logger sees no record of the loggers below it."""
    for call in module.all(ast.Call):
        if getattr(call.func, "attr", "") != "addFilter":
            continue
        owner = call.func.value
        root = isinstance(owner, ast.Call) and not (owner.args or owner.keywords)
        named = module.name(owner.func) if root else module.name(owner)
        if named == ("logging.getLogger" if root else "logging.root"):
            what = ast.unparse(call.args[0]) if call.args else "..."
            yield Report(
                call,
                "a record of any other logger does not pass the root logger's filter",
                f"for handler in logging.getLogger().handlers: handler.addFilter({what})",
            )


@check("_validator")
def inputs_in_errors(module: Module) -> Iterator[Report]:
    """A validator of a secret field, whose message repeats the value."""
    for node, name in telling(module):
        yield Report(
            node,
            f"the 422 repeats what was sent as `{name}`",
            'ValueError("...") with a fixed text',
        )


@check('"route"', "'route'")
def route_prefixes(module: Module) -> Iterator[Report]:
    """The path of a route, without the prefix of its router."""
    for each in module.all(ast.Attribute):
        route = each.value
        if isinstance(route, ast.Call):
            named = getattr(route.func, "attr", "") == "get" and route.args
            owner, key = (route.func.value, route.args[0]) if named else (None, None)
        else:
            owner, key = getattr(route, "value", None), getattr(route, "slice", None)
        scope = getattr(owner, "attr", getattr(owner, "id", ""))
        if each.attr == "path" and scope == "scope" and getattr(key, "value", "") == "route":
            yield Report(
                each,
                "from FastAPI 0.137 this lacks the prefix of include_router",
                'scope["fastapi"]["effective_route_context"].path, where it is there',
                hint=True,
            )


@check("forwarded_allow_ips")
def behind_a_proxy(module: Module) -> Iterator[Report]:
    """A server that believes the headers of whoever reaches it."""
    for call in module.calls("uvicorn.run", "uvicorn.Config", "uvicorn.config.Config"):
        ips = keyword(call, "forwarded_allow_ips")
        if isinstance(ips, ast.Constant) and ips.value == "*":
            yield Report(
                ips,
                "whoever reaches the port chooses the address the application sees",
                'forwarded_allow_ips="<the proxy\'s address>"',
                hint=True,
            )
