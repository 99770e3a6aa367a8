"""Programs that a coroutine starts and waits for."""

import ast
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, function_of, inside, keyword, parents, spreads

from subjects.handlers import DEADLINES

STARTS = ("asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell")
GROUPS = ("start_new_session", "process_group", "preexec_fn")
ENDS = ("kill", "terminate", "send_signal")
# Programs that are there to start others.
SHELLS = {"sh", "bash", "zsh", "npm", "npx", "pnpm", "yarn", "uv", "uvx", "poetry", "make", "sudo"}


def programs(module: Module) -> Iterator[tuple[ast.Call, str]]:
    """The calls that start a program in a coroutine, and the variable that holds it."""
    for call in module.calls(*STARTS):
        holder = call.parent.parent if isinstance(call.parent, ast.Await) else None
        target = holder.targets[0] if isinstance(holder, ast.Assign) else None
        if isinstance(target, ast.Name) and isinstance(function_of(call), ast.AsyncFunctionDef):
            yield call, target.id


def starts_others(module: Module, call: ast.Call) -> bool:
    """Whether a program is a shell, or one that runs others."""
    if module.name(call.func) == STARTS[1]:
        return True
    first = call.args[0] if call.args else None
    word = first.value if isinstance(first, ast.Constant) else None
    return isinstance(word, str) and word.rpartition("/")[2] in SHELLS


def owns_group(call: ast.Call) -> bool:
    """Whether a program is started in a process group of its own, or may be."""
    return spreads(call) or any(keyword(call, each) is not None for each in GROUPS)


def limit(module: Module, function: ast.AST, name: str) -> ast.expr | None:
    """The limit of time under which a function waits for the output of a program."""
    for call in inside(function, ast.Call):
        reads = _method(call, name) == "communicate"
        if reads and (found := _limit(module, call)) is not None:
            return found
    return None


def handed_on(function: ast.AST, name: str) -> bool:
    """Whether a program is passed to other code, which may end it."""
    for each in ast.walk(function):
        if isinstance(each, ast.Name) and each.id == name and isinstance(each.ctx, ast.Load):
            whole = each.parent if getattr(each.parent, "attr", "") == "pid" else each
            above = whole.parent
            if not isinstance(
                above, ast.Attribute | ast.Compare | ast.BoolOp | ast.UnaryOp | ast.If
            ):
                return not _printed(whole)
    return False


def ended(function: ast.AST, name: str) -> ast.Call | None:
    """The first call with which a function ends a program."""
    for each in ast.walk(function):
        if isinstance(each, ast.Call) and _method(each, name) in ENDS:
            return each
    return None


def _method(call: ast.Call, name: str) -> str | None:
    """The method that a call calls on a variable."""
    on = isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") == name
    return call.func.attr if on else None


def _limit(module: Module, call: ast.Call) -> ast.expr | None:
    around = call.parent
    if isinstance(around, ast.Call) and module.name(around.func) == "asyncio.wait_for":
        found = around.args[1] if len(around.args) > 1 else keyword(around, "timeout")
        return None if isinstance(found, ast.Constant) and found.value is None else found
    for above in parents(call):
        if isinstance(above, (*FUNCTIONS, ast.Lambda)):
            return None
        for item in getattr(above, "items", ()):
            made = item.context_expr
            if isinstance(made, ast.Call) and module.name(made.func) in DEADLINES and made.args:
                return made.args[0]
    return None


def _printed(node: ast.AST) -> bool:
    """Whether a value only goes into a text or a log."""
    for above in parents(node):
        if isinstance(above, ast.FormattedValue):
            return True
        if isinstance(above, ast.stmt):
            return False
        if isinstance(above, ast.Call):
            return getattr(above.func, "attr", "") in ("debug", "info", "warning", "error")
    return False
