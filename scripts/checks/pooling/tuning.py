"""What can be seen in code of rules/pooling/tuning.md."""

import ast
import re
from collections.abc import Iterator

from checks import Report, check
from project.module import FUNCTIONS, Module, arguments
from project.values import SESSION
from subjects.answers import types
from subjects.engines import unbounded_engines
from subjects.occasions import is_endpoint
from subjects.sqltexts import texts

POOL_TIMEOUT = "sqlalchemy.exc.TimeoutError"
WAIT = re.compile(r"(?:^|_)waits?|waiting|_do_get", re.IGNORECASE)
COUNTS = {"inc", "dec", "set", "add", "observe", "record"}
CLOCKS = {"time.time", "time.monotonic", "time.perf_counter", "time.perf_counter_ns"}
POOL_FIGURES = {"checkedout", "checkedin", "overflow", "get_idle_size", "get_size"}
RETRIES = re.compile(
    r"(?=.*(?:retry|on_exception))"
    r".*(?:DBAPIError|OperationalError|SerializationError|DeadlockDetected|SQLAlchemyError)",
    re.DOTALL,
)
DATABASE = {
    f"sqlalchemy.exc.{name}"
    for name in ("SQLAlchemyError", "DBAPIError", "OperationalError", "InterfaceError")
}


@check("create_async_engine")
def default_pool_timeout(module: Module) -> Iterator[Report]:
    """An engine that lets requests queue for 30 seconds."""
    for call, sure in unbounded_engines(module):
        yield Report(
            call,
            "without `pool_timeout` requests queue 30 s for a connection",
            _with_timeout(call),
            hint=not sure,
        )


def _with_timeout(call: ast.Call) -> str:
    parts = [*map(ast.unparse, call.args), *map(ast.unparse, call.keywords), "pool_timeout=2"]
    whole = f"{ast.unparse(call.func)}({', '.join(parts)})"
    return whole if len(whole) <= 100 else "add `pool_timeout=2`"


@check('"checkout"', "'checkout'")
def export_the_wait(module: Module) -> Iterator[Report]:
    """Connections in use are counted at checkout, and nothing measures the wait."""
    if _measures_waits(module):
        return
    for node, listener in _listeners(module, "checkout"):
        counted = next((each for each in ast.walk(listener) if _counts(each)), None)
        if counted is not None:
            yield Report(
                node,
                f"`{ast.unparse(counted.func)}` counts connections in use; who waits never shows",
                "time `_do_get` in a subclass of the pool, given as `poolclass=`",
            )


def _measures_waits(module: Module) -> bool:
    """Whether something in the module is named for a wait, or takes the pool's own step over."""
    names = [each.id for each in module.all(ast.Name)]
    names += [each.name for each in module.all(*FUNCTIONS)]
    names += [each.value for each in module.all(ast.Constant) if isinstance(each.value, str)]
    return any(WAIT.search(name) for name in names)


def _listeners(module: Module, name: str) -> Iterator[tuple[ast.AST, ast.AST]]:
    """The functions that listen to an event of a pool, each with the node that registers it."""
    for call in module.calls("sqlalchemy.event.listen", "sqlalchemy.event.listens_for"):
        if len(call.args) < 2 or getattr(call.args[1], "value", None) != name:
            continue
        if isinstance(call.parent, FUNCTIONS) and call in call.parent.decorator_list:
            yield call, call.parent
        elif len(call.args) > 2:
            yield from ((call, found) for found in _function(module, call.args[2]))


def _function(module: Module, node: ast.expr) -> Iterator[ast.AST]:
    if isinstance(node, ast.Lambda):
        yield node
    else:
        name = getattr(node, "id", getattr(node, "attr", ""))
        yield from (each for each in module.all(*FUNCTIONS) if each.name == name)


def _counts(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in COUNTS
    )


@check('"checkout"', "'checkout'")
def checkout_to_checkin(module: Module) -> Iterator[Report]:
    """A time that begins when a connection was already handed out."""
    for node, listener in _listeners(module, "checkout"):
        clocks = (each for each in ast.walk(listener) if isinstance(each, ast.Call))
        if any(module.name(each.func) in CLOCKS for each in clocks):
            yield Report(
                node,
                "a time from here on holds neither the wait nor the ping of `pool_pre_ping`",
                "time `_do_get` in a subclass of the pool, given as `poolclass=`",
                hint=True,
            )


@check("set_function")
def gauges_by_callback(module: Module) -> Iterator[Report]:
    """A gauge that asks a pool when it is read."""
    for call in module.all(ast.Call):
        if getattr(call.func, "attr", "") != "set_function" or not call.args:
            continue
        asked = {each.attr for each in ast.walk(call.args[0]) if isinstance(each, ast.Attribute)}
        if not asked.isdisjoint(POOL_FIGURES):
            yield Report(
                call,
                "it exports 0.0 under PROMETHEUS_MULTIPROC_DIR, and the old pool after `dispose()`",
                "count with `inc()` and `dec()` in the pool's events",
                hint=True,
            )


@check("retry", "on_exception")
def retry_around_a_dependencys_session(module: Module) -> Iterator[Report]:
    """An endpoint that is repeated after the database's error, with the session it was given."""
    for function in module.all(ast.AsyncFunctionDef):
        again = [each for each in function.decorator_list if RETRIES.search(ast.unparse(each))]
        given = [arg.arg for arg in arguments(function) if _is_given_session(module, function, arg)]
        if again and given and is_endpoint(module, function):
            yield Report(
                again[0],
                f"the COMMIT of `{given[0]}` runs after the endpoint, where no retry sees it",
                "take `request.state.sessions`, and repeat its `begin()` block",
            )


def _is_given_session(module: Module, function: ast.AST, arg: ast.arg) -> bool:
    injected = module.project.injection(module, function, arg) is not None
    return injected and module.project.annotated(module, arg.annotation) == SESSION


@check("exception_handler")
def answer_503_when_full(module: Module) -> Iterator[Report]:
    """A handler that answers 503 for the builtin TimeoutError, which a full pool does not raise."""
    registered = dict(_registered(module))
    if any(module.name(error) == POOL_TIMEOUT for error in registered):
        return
    for error, handler in registered.items():
        said = ast.unparse(handler) if handler is not None else ""
        if module.name(error) != "builtins.TimeoutError" or "503" not in said:
            continue
        if module.project.facts.asynchronous or "retry-after" in said.lower():
            yield Report(
                error,
                "a full pool of SQLAlchemy raises another TimeoutError, and the client reads 500",
                "sqlalchemy.exc.TimeoutError",
            )


def _registered(module: Module) -> Iterator[tuple[ast.expr, ast.AST | None]]:
    for call in module.all(ast.Call):
        method = getattr(call.func, "attr", "")
        if method == "exception_handler" and call.args:
            yield call.args[0], call.parent if isinstance(call.parent, FUNCTIONS) else None
        elif method == "add_exception_handler" and len(call.args) > 1:
            found = module.project.definition(module.name(call.args[1]))
            yield call.args[0], found[1] if found else None


@check("SELECT 1", "select 1")
def failed_connects(module: Module) -> Iterator[Report]:
    """A probe of the database that misses connects which are refused."""
    for node, text in texts(module):
        if text.strip(" ;").upper() != "SELECT 1":
            continue
        tried = _tried(node)
        handlers = _handled(module, tried) if tried is not None else {}
        caught = {name for names in handlers.values() for name in names}
        if not caught or not caught <= DATABASE:
            continue
        handler = next(iter(handlers))
        names = [ast.unparse(each) for each in types(handler)]
        named = f" as {handler.name}" if handler.name else ""
        yield Report(
            handler,
            f"a connect that is refused or too slow raises no {names[0]}",
            f"except ({', '.join([*names, 'OSError'])}){named}:",
        )


def _tried(node: ast.AST) -> ast.Try | None:
    """The one `try` around a node in its coroutine; None where another one is around that."""
    found: list[ast.Try] = []
    awaited = False
    while (above := getattr(node, "parent", None)) is not None:
        awaited = awaited or isinstance(above, ast.Await)
        if isinstance(above, ast.Try) and node.slot == "body":
            found.append(above)
        if isinstance(above, FUNCTIONS):
            break
        node = above
    return found[0] if awaited and len(found) == 1 else None


def _handled(module: Module, tried: ast.Try) -> dict[ast.ExceptHandler, set[str | None]]:
    return {
        handler: {module.name(each) for each in types(handler)} or {"builtins.BaseException"}
        for handler in tried.handlers
    }
