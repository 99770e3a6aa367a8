"""Handlers of signals that a server has installed before the application installs its own."""

import ast
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, inside, keyword, parents

STOPS = {"exit", "_exit", "SystemExit", "kill", "raise_signal", "handle_exit", "should_exit"}
TAKEN = ("signal.SIGTERM", "signal.SIGINT")


def replaced(module: Module) -> Iterator[tuple[ast.Call, str]]:
    """The calls in lifespans that replace the server's handler, and the signal's name."""
    for function in module.all(*FUNCTIONS):
        if not (module.project.is_lifespan(function, module) or _on_startup(module, function)):
            continue
        for call in inside(function, ast.Call):
            found = _signal(module, call)
            if found is None:
                home = module.project.definition(module.name(call.func))
                if home and isinstance(home[1], FUNCTIONS) and not _keeps(*home):
                    each = (_signal(home[0], one) for one in inside(home[1], ast.Call))
                    found = next(filter(None, each), None)
            elif _keeps(module, function) or _stops(module, call):
                found = None
            if found:
                yield call, found


def _signal(module: Module, call: ast.Call) -> str | None:
    """The signal of the server's for which a call installs a handler."""
    method = getattr(call.func, "attr", "") == "add_signal_handler"
    if not call.args or not (method or module.name(call.func) == "signal.signal"):
        return None
    name = module.name(call.args[0])
    if name in TAKEN:
        return name.rpartition(".")[2]
    for above in parents(call):
        if isinstance(above, ast.For) and ast.unparse(above.target) == ast.unparse(call.args[0]):
            names = [module.name(each) for each in getattr(above.iter, "elts", ())]
            return next((each.rpartition(".")[2] for each in names if each in TAKEN), None)
    return None


def _keeps(module: Module, function: ast.AST) -> bool:
    """Whether a function reads the handler it replaces, to call it or to put it back."""
    for call in ast.walk(function):
        if isinstance(call, ast.Call):
            name = module.name(call.func)
            kept = name == "signal.signal" and not isinstance(call.parent, ast.Expr)
            if kept or name == "signal.getsignal":
                return True
    return False


def _stops(module: Module, call: ast.Call) -> bool:
    """Whether a handler ends the process or the server itself."""
    handler = call.args[1] if len(call.args) > 1 else None
    found = module.project.definition(module.name(handler))
    body = found[1] if found else handler
    return body is not None and any(
        getattr(each, "attr", getattr(each, "id", "")) in STOPS for each in ast.walk(body)
    )


def _on_startup(module: Module, function: ast.AST) -> bool:
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and getattr(mark.func, "attr", "") == "on_event":
            return _is_startup(mark)
    return function.name in _registered(module)


def _registered(module: Module) -> set[str]:
    """The names of functions that `add_event_handler` or `on_startup=` gets for the startup."""
    if not module.holds(b"add_event_handler") and not module.holds(b"on_startup"):
        return set()
    given: list[ast.AST] = []
    for call in module.all(ast.Call):
        if getattr(call.func, "attr", "") == "add_event_handler" and _is_startup(call):
            given += call.args[1:]
        listed = keyword(call, "on_startup")
        given += listed.elts if isinstance(listed, ast.List | ast.Tuple) else []
    return {each.id for each in given if isinstance(each, ast.Name)}


def _is_startup(call: ast.Call) -> bool:
    event = call.args[0] if call.args else keyword(call, "event_type")
    return isinstance(event, ast.Constant) and event.value == "startup"
