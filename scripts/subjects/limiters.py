"""Semaphores, executors and threads: what bounds how much of something runs at a time."""

import ast
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, arguments, function_of, inside, parents

SEMAPHORES = ("asyncio.Semaphore", "asyncio.BoundedSemaphore")
LIMITERS = (*SEMAPHORES, "anyio.Semaphore", "anyio.CapacityLimiter", "aiolimiter.AsyncLimiter")
LAZY = {
    f"{home}.{name}"
    for home in ("typing", "collections.abc")
    for name in ("Iterable", "Iterator", "Generator", "AsyncIterable", "AsyncIterator")
}
EXECUTORS = (
    "concurrent.futures.ThreadPoolExecutor",
    "concurrent.futures.ProcessPoolExecutor",
    "concurrent.futures.InterpreterPoolExecutor",
    "concurrent.futures.thread.ThreadPoolExecutor",
    "concurrent.futures.process.ProcessPoolExecutor",
)


def entered_in_place(module: Module, call: ast.Call) -> ast.AsyncWith | None:
    """Where a limiter is entered, if only the run of the function that made it can enter it."""
    if isinstance(call.parent, ast.withitem):
        return call.parent.parent
    target = call.parent.targets[0] if isinstance(call.parent, ast.Assign) else None
    function = function_of(call)
    if not isinstance(target, ast.Name) or len(call.parent.targets) > 1:
        return None
    if len(module.bindings(function)[target.id]) != 1:
        return None
    uses = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and node.id == target.id and node is not target
    ]
    if uses and all(
        isinstance(node.parent, ast.withitem) and function_of(node) is function for node in uses
    ):
        return uses[0].parent.parent
    return None


def shared(module: Module, node: ast.expr) -> bool:
    """Whether a limiter outlives the call that enters it: an attribute, or a module's variable."""
    if isinstance(node, ast.Attribute):
        return True
    return isinstance(node, ast.Name) and (module.name(node) or "").endswith(f":{node.id}")


def per_item(module: Module) -> Iterator[tuple[ast.Call, ast.expr, bool]]:
    """Calls of a coroutine function that waits for a semaphore, one for each item of a source.

    Yields the call, the source, and whether the source may be longer than memory.
    """
    for call in module.all(ast.Call):
        if isinstance(call.parent, ast.Await) or not isinstance(call.func, ast.Name):
            continue
        target, source = _iteration(call)
        if _is_short(module, source):
            continue
        items = (
            {node.id for node in ast.walk(target) if isinstance(node, ast.Name)} if target else ()
        )
        if not any(node.id in items for each in call.args for node in _names(each)):
            continue
        found = module.project.definition(module.name(call.func))
        if found and found[0] is module and _gated(module, found[1]):
            yield call, source, _is_lazy(module, source)


def _iteration(call: ast.Call) -> tuple[ast.expr | None, ast.expr | None]:
    """The target and the source of the loop or comprehension right around a call."""
    function = function_of(call)
    for each in parents(call):
        if each is function:
            break
        if isinstance(each, ast.For | ast.AsyncFor):
            return each.target, each.iter
        if isinstance(each, ast.ListComp | ast.GeneratorExp | ast.SetComp):
            return each.generators[0].target, each.generators[0].iter
    return None, None


def _names(node: ast.AST) -> list[ast.Name]:
    return [each for each in ast.walk(node) if isinstance(each, ast.Name)]


def _gated(module: Module, function: ast.AST) -> bool:
    """Whether a coroutine function begins by waiting for a semaphore, and then makes its work."""
    if not isinstance(function, ast.AsyncFunctionDef):
        return False
    given = {arg.arg for arg in arguments(function)}
    if any(getattr(node.value, "id", "") in given for node in inside(function, ast.Await)):
        return False  # what it awaits was made before
    first = [each for each in function.body if not isinstance(each, ast.Expr | ast.Nonlocal)][:1]
    return any(
        isinstance(each, ast.AsyncWith) and module.value(each.items[0].context_expr) in SEMAPHORES
        for each in first
    )


def _is_short(module: Module, source: ast.expr | None) -> bool:
    """Whether a source is written out, or counted, in the code."""
    if isinstance(source, ast.Call):
        return module.name(source.func) == "builtins.range"
    return isinstance(source, ast.Tuple | ast.List | ast.Set | ast.Dict)


def _is_lazy(module: Module, source: ast.expr) -> bool:
    if isinstance(source.parent, ast.AsyncFor):
        return True
    if isinstance(source, ast.Call):
        found = module.project.definition(module.name(source.func))
        generator = found and isinstance(found[1], FUNCTIONS)
        return bool(generator and any(inside(found[1], ast.Yield, ast.YieldFrom)))
    return isinstance(source, ast.Name) and module.value(source) in LAZY


def thread(module: Module, call: ast.Call) -> str | None:
    """What a call runs in a thread of the default executor, as run_in_executor's arguments."""
    if module.name(call.func) == "asyncio.to_thread":
        first = 0
    elif getattr(call.func, "attr", "") == "run_in_executor" and _is_none(call.args[:1]):
        first = 1
    else:
        return None
    return run_of(call, first)


def run_of(call: ast.Call, first: int) -> str | None:
    """The arguments of a call from one on, its keywords put into a `partial`."""
    parts = [ast.unparse(each) for each in call.args[first:]]
    if not parts:
        return None
    if call.keywords:
        words = [f"{each.arg}=" if each.arg else "**" for each in call.keywords]
        values = [ast.unparse(each.value) for each in call.keywords]
        pairs = [word + value for word, value in zip(words, values, strict=True)]
        return f"partial({', '.join([*parts, *pairs])})"
    return ", ".join(parts)


def only_awaited(call: ast.Call, block: ast.AsyncWith) -> bool:
    """Whether a block awaits this call and nothing else."""
    waits = [
        node
        for statement in block.body
        for node in [statement, *inside(statement)]
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith)
    ]
    return waits == [call.parent]


def _is_none(nodes: list[ast.expr]) -> bool:
    return any(isinstance(node, ast.Constant) and node.value is None for node in nodes)
