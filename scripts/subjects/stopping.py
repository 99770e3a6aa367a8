"""Tasks that a function cancels or waits for, and what it leaves unfinished."""

import ast
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, function_of, inside, keyword, parents, statement_of

from subjects.handlers import CANCELLED, TIMEOUT, caught, within
from subjects.tasks import JOINS, starts

CLOSES = ("close", "aclose", "dispose", "disconnect")


def awaited_task(module: Module, node: ast.Await) -> ast.expr | None:
    """The task that an `await` waits for, as the function names it, or None."""
    value: ast.AST = node.value
    while isinstance(value, ast.Call) and module.name(value.func) in JOINS and value.args:
        gathers = module.name(value.func) == "asyncio.gather"
        if module.name(value.func) == "asyncio.wait" or (gathers and value.keywords):
            return None
        value = value.args[0]
        if isinstance(value, ast.Starred) and not gathers:
            return None
    named = value.value if isinstance(value, ast.Starred) else value
    return value if isinstance(named, ast.Name | ast.Attribute | ast.Subscript) else None


def ended_instead(module: Module, task: ast.expr, block: ast.Try | ast.With) -> str:
    """What to write instead of a block that drops a cancel of the caller: with its errors kept.

    `stop` raises what the task raised, so it is no advice where the block passes over errors.
    """
    what = ast.unparse(task)
    limit = _limit(module, block)
    wait = f"await stop({what}, limit={limit})" if limit not in ("", "5") else f"await stop({what})"
    if _forgives(module, block):
        several = isinstance(task, ast.Starred)
        tasks = what.lstrip("*")
        wait = f"await asyncio.wait({tasks if several else f'[{what}]'}, timeout={limit or 5})"
        wait = f"if {tasks}: {wait}" if several else wait
    if isinstance(block, ast.With):
        return f"{wait} in place of this block"
    if block.finalbody or block.orelse:
        return f"{wait} in this `try`, and no such handler"
    return f"{wait} in place of this `try`"


def _forgives(module: Module, block: ast.Try | ast.With) -> bool:
    """Whether a block goes on after errors of the task."""
    if isinstance(block, ast.Try):
        parts = [each.type for each in block.handlers if not any(within(each.body, ast.Raise))]
    else:
        parts = [arg for item in block.items for arg in getattr(item.context_expr, "args", ())]
    kinds = [name for each in parts for name in caught(module, each)]
    return any(each not in (CANCELLED, TIMEOUT) for each in kinds)


def _limit(module: Module, block: ast.Try | ast.With) -> str:
    """How long a block waits for its task by `wait_for`, as it is written; or nothing."""
    for call in within(block.body, ast.Call):
        if module.name(call.func) == "asyncio.wait_for":
            given = call.args[1] if len(call.args) > 1 else keyword(call, "timeout")
            return ast.unparse(given) if given is not None else ""
    return ""


def cancels(function: ast.AST, task: ast.expr) -> Iterator[ast.Call]:
    """The calls of `task.cancel()` in a function's own code; for `*tasks`, of one in a loop."""
    whole = task.value if isinstance(task, ast.Starred) else task
    names = {ast.unparse(whole)}
    if whole is not task:
        names = {
            ast.unparse(loop.target)
            for loop in inside(function, ast.For, ast.comprehension)
            if any(ast.dump(each) == ast.dump(whole) for each in ast.walk(loop.iter))
        }
    for each in inside(function, ast.Call):
        asks = isinstance(each.func, ast.Attribute) and each.func.attr == "cancel"
        if asks and ast.unparse(each.func.value) in names:
            yield each


def over(module: Module, body: list[ast.stmt], loop: ast.stmt | None) -> bool:
    """Whether a block only awaits what the loop takes of the tasks that a `wait` found done."""
    if not (isinstance(loop, ast.For) and isinstance(loop.iter, ast.Name)):
        return False
    function = function_of(loop)
    bound = module.bindings(function).get(loop.iter.id, ()) if function else ()
    for each in bound:
        pair = each.parent
        made = getattr(pair.parent, "value", None) if isinstance(pair, ast.Tuple) else None
        call = made.value if isinstance(made, ast.Await) else None
        if isinstance(call, ast.Call) and module.name(call.func) == "asyncio.wait":
            return pair.elts[0] is each
    return False


def closed_early(module: Module) -> Iterator[tuple[ast.Call, str]]:
    """What a coroutine closes after it cancelled a task of the module, without a wait for it."""
    started = {
        ast.unparse(target)
        for call, _ in starts(module)
        for target in getattr(call.parent, "targets", ())
    }
    for call in module.all(ast.Call):
        if getattr(call.func, "attr", "") != "cancel" or not isinstance(call.parent, ast.Expr):
            continue
        function, name = function_of(call), ast.unparse(call.func.value)
        if name in started and isinstance(function, ast.AsyncFunctionDef):
            closing = _closed_next(call)
            if closing is not None and not _named_after(function, call, name):
                yield closing, name


def _closed_next(call: ast.Call) -> ast.Call | None:
    """The close that follows a cancel among the statements around it."""
    statement: ast.AST = statement_of(call)
    while isinstance(statement, ast.stmt) and not isinstance(statement, FUNCTIONS):
        block = getattr(statement.parent, statement.slot)
        for wait in within(block[block.index(statement) + 1 :], ast.Await):
            if getattr(getattr(wait.value, "func", None), "attr", "") in CLOSES:
                return wait.value
        statement = statement.parent
    return None


def _named_after(function: ast.AST, call: ast.Call, name: str) -> bool:
    return any(
        each.lineno > call.lineno and isinstance(each.ctx, ast.Load) and ast.unparse(each) == name
        for each in inside(function, ast.Name, ast.Attribute)
    )


def alternative(one: ast.AST, other: ast.AST) -> bool:
    """Whether two nodes stand in different branches of one `if`, so that only one of them runs."""
    slots: dict[int, str] = {}
    below = one
    for above in parents(one):
        slots[id(above)] = below.slot
        below = above
    below = other
    for above in parents(other):
        if id(above) in slots:
            return isinstance(above, ast.If) and slots[id(above)] != below.slot
        below = above
    return False


def drains(loop: ast.stmt) -> bool:
    """Whether a loop runs until a task is done: `while not task.done()`."""
    test = loop.test if isinstance(loop, ast.While) else None
    return test is not None and any(
        isinstance(each, ast.Attribute) and each.attr == "done" for each in ast.walk(test)
    )


def unfinished(module: Module) -> Iterator[tuple[ast.Call, ast.AsyncFunctionDef]]:
    """The `done, pending = await asyncio.wait(...)` whose pending tasks nothing ends.

    Only for tasks that the function starts itself, and for calls that can leave some of them.
    """
    starting = {function_of(start) for start, _ in starts(module)}
    for call in module.calls("asyncio.wait"):
        function, pending = function_of(call), _pending(call)
        if not isinstance(function, ast.AsyncFunctionDef) or function not in starting:
            continue
        if pending is None or not _partial(module, call) or _in_loop(call):
            continue
        if not _ends_some(function, pending) and not _named_again(function, call):
            yield call, function


def _named_again(function: ast.AST, call: ast.Call) -> bool:
    """Whether a function does something with the tasks, or keeps them, beside this wait."""
    waited = {id(each): each for each in ast.walk(call)}
    names = {each.id for each in waited.values() if isinstance(each, ast.Name)} - {"asyncio"}
    for each in ast.walk(function):
        if isinstance(each, ast.Name) and each.id in names and id(each) not in waited:
            if isinstance(each.ctx, ast.Load) and each.lineno >= call.lineno:
                return True
            targets = getattr(each.parent, "targets", ())
            if any(isinstance(target, ast.Attribute) for target in targets):
                return True
    return False


def _ends_some(function: ast.AST, pending: str) -> bool:
    for each in ast.walk(function):
        if isinstance(each, ast.Attribute) and each.attr in ("cancel", "cancel_all"):
            return True
        if isinstance(each, ast.Name) and each.id == pending and isinstance(each.ctx, ast.Load):
            return True
    return False


def _partial(module: Module, call: ast.Call) -> bool:
    when = module.name(keyword(call, "return_when")) or ""
    timeout = keyword(call, "timeout")
    limited = timeout is not None and not (
        isinstance(timeout, ast.Constant) and timeout.value is None
    )
    return limited or when.endswith(("FIRST_COMPLETED", "FIRST_EXCEPTION"))


def _in_loop(node: ast.AST) -> bool:
    for above in parents(node):
        if isinstance(above, ast.While | ast.For | ast.AsyncFor):
            return True
        if isinstance(above, FUNCTIONS):
            return False
    return False


def _pending(call: ast.Call) -> str | None:
    """The name of the tasks that a wait leaves, in `done, pending = await asyncio.wait(...)`."""
    holder = call.parent.parent if isinstance(call.parent, ast.Await) else None
    target = holder.targets[0] if isinstance(holder, ast.Assign) else None
    if isinstance(target, ast.Tuple) and len(target.elts) == 2:
        return getattr(target.elts[1], "id", None)
    return None
