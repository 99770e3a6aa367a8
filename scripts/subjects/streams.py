"""Asynchronous generators: who leaves one early, and what one does in the end."""

import ast
from collections.abc import Iterator

from project.module import Module, function_of, inside, keyword, parents

from subjects.calls import callee
from subjects.handlers import up_to, within

GENERATORS = ("typing.AsyncGenerator", "collections.abc.AsyncGenerator")
LOOPS = (ast.While, ast.For, ast.AsyncFor)


def generator(module: Module, node: ast.AST | None) -> tuple[Module, ast.AsyncFunctionDef] | None:
    """The asynchronous generator function of the project that a call calls."""
    if not isinstance(node, ast.Call):
        return None
    found = callee(module, node)
    if found is None or not isinstance(found[1], ast.AsyncFunctionDef):
        return None
    yields = next(inside(found[1], ast.Yield), None)
    return found if yields is not None and not found[1].decorator_list else None


def left_early(module: Module, loop: ast.AsyncFor) -> str | None:
    """`return` or `break` where it leaves a generator with work to do at its end, or None."""
    made = generator(module, loop.iter)
    if made is not None:
        if not _cleans_up(made[1]):
            return None
    elif not _held(module, loop.iter) or _used_again(loop):
        return None
    for node in within(loop.body, ast.Return, ast.Break):
        if isinstance(node, ast.Return):
            return "return"
        if next(each for each in parents(node) if isinstance(each, LOOPS)) is loop:
            return "break"
    return None


def dropped(module: Module) -> Iterator[tuple[ast.Await, ast.Call]]:
    """The awaits of `anext` on a generator that nothing uses or closes after, and its call."""
    for wait in module.all(ast.Await):
        source = _advanced(module, wait.value)
        if isinstance(source, ast.Name) and (function := function_of(wait)) is not None:
            bound = module.bindings(function).get(source.id, ())
            holder = bound[0].parent if len(bound) == 1 else None
            used = [each for each in ast.walk(function) if getattr(each, "id", "") == source.id]
            read = [each for each in used if isinstance(each.ctx, ast.Load)]
            again = any(isinstance(each, LOOPS) for each in up_to(wait, function))
            if isinstance(holder, ast.Assign) and len(read) == 1 and not again:
                source = holder.value
        made = generator(module, source)
        if made is not None and _cleans_up(made[1]) and not _closed(wait):
            yield wait, source


def _closed(wait: ast.Await) -> bool:
    """Whether the function closes the very item that it took."""
    targets = getattr(wait.parent, "targets", [getattr(wait.parent, "target", None)])
    names = {each.id for each in targets if isinstance(each, ast.Name)}
    function = function_of(wait)
    return function is not None and any(
        each.attr in ("close", "aclose") and getattr(each.value, "id", "") in names
        for each in inside(function, ast.Attribute)
    )


def _advanced(module: Module, node: ast.expr) -> ast.expr | None:
    """What `anext(...)` or `....__anext__()` asks for its next item."""
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Attribute) and node.func.attr == "__anext__":
        return node.func.value
    return node.args[0] if node.args and module.name(node.func) == "builtins.anext" else None


def streamed(module: Module) -> Iterator[ast.AsyncFunctionDef]:
    """The generators of this module that are the body of a StreamingResponse."""
    seen: set[ast.AST] = set()
    for call in module.calls("starlette.responses.StreamingResponse"):
        made = generator(module, call.args[0] if call.args else keyword(call, "content"))
        if made is not None and made[0] is module and made[1] not in seen:
            seen.add(made[1])
            yield made[1]


def cleanup(module: Module, function: ast.AsyncFunctionDef) -> Iterator[ast.Await]:
    """The first unshielded `await` of each `finally` around a `yield`."""
    for node in inside(function, ast.Try):
        if next(within(node.body, ast.Yield), None) is None:
            continue
        for wait in within(node.finalbody, ast.Await):
            if isinstance(wait.value, ast.Call) and not _shielded(module, wait, node):
                yield wait
                break


def _shielded(module: Module, wait: ast.Await, around: ast.Try) -> bool:
    """Whether a cancel scope protects an await, or it only runs under a condition."""
    for above in parents(wait):
        if above is around:
            break
        if isinstance(above, ast.If | ast.AsyncWith | ast.With | ast.ExceptHandler):
            return True
    found = callee(module, wait.value)
    return found is not None and any(
        keyword(call, "shield") is not None for call in inside(found[1], ast.Call)
    )


def _cleans_up(function: ast.AST) -> bool:
    """Whether a `yield` stands in a `with` or in a `try` with a `finally`."""
    for node in inside(function, ast.Yield):
        below: ast.AST = node
        for above in parents(node):
            if above is function:
                break
            guarded = isinstance(above, ast.Try) and above.finalbody and below.slot == "body"
            if guarded or isinstance(above, ast.AsyncWith) or _releases(above):
                return True
            below = above
    return False


def _releases(node: ast.AST) -> bool:
    """Whether a node is a `with` that does more at its end than to drop errors."""
    return isinstance(node, ast.With) and any(
        getattr(getattr(item.context_expr, "func", None), "attr", "") != "suppress"
        and getattr(getattr(item.context_expr, "func", None), "id", "") != "suppress"
        for item in node.items
    )


def _held(module: Module, node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and module.value(node) in GENERATORS


def _used_again(loop: ast.AsyncFor) -> bool:
    """Whether the function goes on with the generator, or closes it."""
    function = function_of(loop)
    return function is None or any(
        each.id == loop.iter.id and each is not loop.iter
        for each in inside(function, ast.Name)
        if isinstance(each.ctx, ast.Load)
    )
