"""WebSocket endpoints: what they wait for, and whether they hear that their client left."""

import ast
from collections.abc import Iterator

from project.module import Module, function_of, inside, parents

from subjects.endpoints import endpoints, websocket_of

RECEIVES = ("receive", "iter_")
WAITS = {
    *("get", "get_message", "wait", "read", "recv", "receive", "consume", "listen", "subscribe"),
    *("blpop", "brpop", "bzpopmin", "xread", "xreadgroup", "anext", "__anext__"),
}
BOUNDED = {"wait_for", "timeout", "timeout_at", "move_on_after", "fail_after"}


def deaf(module: Module) -> Iterator[tuple[str, ast.Call]]:
    """WebSockets, by name, with a send in a loop that waits for news and hears nothing else."""
    for endpoint in endpoints(module):
        name = websocket_of(module, endpoint.function) if endpoint.verb == "websocket" else None
        if name is None or not isinstance(endpoint.function, ast.AsyncFunctionDef):
            continue
        uses = list(_uses(endpoint.function, name))
        if not all(isinstance(use.parent, ast.Attribute) for use in uses):
            continue  # handed to something that may listen
        for use in uses:
            call = use.parent.parent
            loop = _loop(call)
            sends = isinstance(call, ast.Call) and use.parent.attr.startswith("send")
            if sends and loop and _waits_for_news(module, loop) and not _hears(uses, loop):
                yield name, call
                break


def _uses(function: ast.AST, name: str) -> Iterator[ast.Name]:
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and node.id == name:
            yield node


def _loop(node: ast.AST) -> ast.AST | None:
    """The outermost loop of a node's function around it."""
    function = function_of(node)
    found = None
    for each in parents(node):
        if each is function:
            return found
        if isinstance(each, ast.While | ast.AsyncFor):
            found = each
    return None


def _waits_for_news(module: Module, loop: ast.AST) -> bool:
    """Whether a loop may wait without an end in one of its rounds."""
    calls = [_called(call) for call in inside(loop, ast.Call)]
    if BOUNDED.intersection(calls):
        return False
    if isinstance(loop, ast.AsyncFor):
        return _called(loop.iter) in WAITS
    endless = isinstance(loop.test, ast.Constant) and bool(loop.test.value)
    awaited = [node.value for node in inside(loop, ast.Await)]
    awaited += [node.iter for node in inside(loop, ast.AsyncFor)]
    return endless and any(
        _called(node) in WAITS and not _limited(module, node) for node in awaited
    )


def _limited(module: Module, node: ast.AST) -> bool:
    """Whether a wait ends by itself, or is a look-up that only has the name of a wait."""
    if not isinstance(node, ast.Call):
        return True
    if any(each.arg and "timeout" in each.arg for each in node.keywords):
        return True
    arguments = len(node.args) + len(node.keywords)
    return _called(node) in ("get", "read") and arguments > 0


def _called(node: ast.AST) -> str:
    func = node.func if isinstance(node, ast.Call) else node
    return getattr(func, "attr", getattr(func, "id", ""))


def _hears(uses: list[ast.Name], loop: ast.AST) -> bool:
    """Whether something receives while the loop runs: only a handshake before it does not."""
    function = function_of(loop)
    for use in uses:
        if not use.parent.attr.startswith(RECEIVES):
            continue
        before = use.lineno < loop.lineno and function_of(use) is function
        awaited = isinstance(use.parent.parent.parent, ast.Await)  # no task that goes on
        if not (before and awaited) or _loop(use) is not None:
            return True
    return False
