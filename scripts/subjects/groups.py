"""Task groups: their blocks, what they start, and who takes the errors they raise."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

from project.module import FUNCTIONS, Module, function_of, inside, parents
from project.names import Names

from subjects.calls import callee
from subjects.handlers import DEADLINES, TIMEOUT, caught, within

HTTP_ERRORS = ("fastapi.HTTPException", "starlette.exceptions.HTTPException")
GROUPS = ("asyncio.TaskGroup", "asyncio.taskgroups.TaskGroup", "anyio.create_task_group")
STARTS = ("create_task", "start_soon", "start")
# What a handler around a group can catch of it.
WHOLE = {
    *("builtins.Exception", "builtins.BaseException", "builtins.ExceptionGroup"),
    *("builtins.BaseExceptionGroup", "builtins.KeyboardInterrupt", "builtins.SystemExit"),
    *(
        "asyncio.CancelledError",
        "exceptiongroup.ExceptionGroup",
        "exceptiongroup.BaseExceptionGroup",
    ),
    *("builtins.GeneratorExit",),
}
_SPLIT: WeakKeyDictionary[Names, set[str]] = WeakKeyDictionary()
_HANDLED: WeakKeyDictionary[Names, bool] = WeakKeyDictionary()


@dataclass(frozen=True)
class Group:
    """One `async with` that opens a task group: the statement, the call, the group's variable."""

    block: ast.AsyncWith
    call: ast.Call
    name: str | None

    @property
    def before(self) -> list[ast.withitem]:
        """What the same `async with` enters outside the group."""
        return self.block.items[: self._place]

    @property
    def after(self) -> list[ast.withitem]:
        """What the same `async with` enters inside the group."""
        return self.block.items[self._place + 1 :]

    @property
    def _place(self) -> int:
        return next(
            place for place, item in enumerate(self.block.items) if item.context_expr is self.call
        )


def groups(module: Module) -> Iterator[Group]:
    """The task groups of a module."""
    for call in module.calls(*GROUPS):
        item = call.parent
        if isinstance(item, ast.withitem) and isinstance(item.parent, ast.AsyncWith):
            name = item.optional_vars.id if isinstance(item.optional_vars, ast.Name) else None
            yield Group(item.parent, call, name)


def children(module: Module, group: Group) -> Iterator[tuple[ast.Call, Module, ast.AST]]:
    """The calls in a group's block that start a child, and the project's function it runs."""
    for call in within(group.block.body, ast.Call):
        method = call.func
        if not (isinstance(method, ast.Attribute) and method.attr in STARTS and call.args):
            continue
        if getattr(method.value, "id", None) != group.name or group.name is None:
            continue
        work = call.args[0]
        found = callee(module, work)
        if found and isinstance(found[1], ast.AsyncFunctionDef) and not found[1].decorator_list:
            yield call, *found


def blind(module: Module, group: Group) -> Iterator[tuple[ast.ExceptHandler, str]]:
    """The handlers around a group alone that never see an error of it, and the class they name."""
    around = group.block.parent
    if not (isinstance(around, ast.Try) and around.body == [group.block]):
        return
    entered = [item.context_expr for item in group.before]
    deadlines = [
        each
        for each in entered
        if isinstance(each, ast.Call) and module.name(each.func) in DEADLINES
    ]
    if len(deadlines) != len(entered):
        return
    for handler in around.handlers:
        names = caught(module, handler.type)
        timed = bool(deadlines) and TIMEOUT in names
        if not timed and all(_leaf(module, name) for name in names):
            yield handler, ast.unparse(handler.type)


def guarded(module: Module, node: ast.AST, name: str, until: ast.AST | None = None) -> bool:
    """Whether a `try` around a node, up to a block, catches an error of a class, or any."""
    below = node
    for above in parents(node):
        if isinstance(above, ast.Try) and below.slot == "body":
            for handler in above.handlers:
                if any(_covers(module, each, name) for each in caught(module, handler.type)):
                    return True
        if above is until or isinstance(above, FUNCTIONS):
            return False
        below = above
    return False


def splits(module: Module, group: Group) -> bool:
    """Whether what stands around a group, or calls its function, takes its ExceptionGroup."""
    below: ast.AST = group.block
    for above in parents(group.block):
        if below.slot == "body" and _takes_groups(module, above):
            return True
        for item in getattr(above, "items", ()):
            unwraps = callee(module, item.context_expr)
            if unwraps and any(_takes_groups(unwraps[0], each) for each in ast.walk(unwraps[1])):
                return True
        if isinstance(above, FUNCTIONS):
            return above.name in _split_calls(module.project)
        below = above
    return False


def _takes_groups(module: Module, node: ast.AST) -> bool:
    """Whether a node is a `try` with a handler for groups, or for any exception."""
    if isinstance(node, ast.TryStar):
        return True
    return isinstance(node, ast.Try) and any(
        name in WHOLE or name == "?"
        for handler in node.handlers
        for name in caught(module, handler.type)
    )


def _split_calls(project: Names) -> set[str]:
    """The names of functions whose callers, somewhere in the project, split a group."""
    if project not in _SPLIT:
        _SPLIT[project] = set()
        for name, path in project.files.items():
            if not _mentions_groups(path) or (module := project.module(name)) is None:
                continue
            for node in module.all(ast.Try, ast.TryStar):
                named = [
                    each
                    for handler in node.handlers
                    for each in caught(module, handler.type)
                    if each.endswith("ExceptionGroup")
                ]
                if named or isinstance(node, ast.TryStar):
                    _SPLIT[project].update(
                        getattr(call.func, "attr", getattr(call.func, "id", ""))
                        for call in within(node.body, ast.Call)
                    )
    return _SPLIT[project]


def _mentions_groups(path: Path) -> bool:
    try:
        source = path.read_bytes()
    except OSError:
        return False
    return b"ExceptionGroup" in source or b"except*" in source


def handled_by_app(project: Names) -> bool:
    """Whether some file of the project registers a handler of exception groups."""
    if project not in _HANDLED:
        _HANDLED[project] = any(_registers(path) for path in project.files.values())
    return _HANDLED[project]


def around(module: Module, node: ast.AST) -> Group | None:
    """The task group whose block a node stands in, in the same function."""
    function = function_of(node)
    for above in parents(node):
        if above is function:
            return None
        if isinstance(above, ast.AsyncWith):
            for item in above.items:
                made = item.context_expr
                if isinstance(made, ast.Call) and module.name(made.func) in GROUPS:
                    return Group(above, made, getattr(item.optional_vars, "id", None))
    return None


def http_error(module: Module, statement: ast.Raise) -> str | None:
    """The class of the HTTPException that a statement raises, or None."""
    error = statement.exc
    name = module.name(error.func if isinstance(error, ast.Call) else error)
    return name if name and module.project.is_a(name, *HTTP_ERRORS) else None


def raises_http(module: Module, function: ast.AST) -> str | None:
    """How the HTTPException is written that a function lets out, or None."""
    for statement in inside(function, ast.Raise):
        name = http_error(module, statement)
        if name and not guarded(module, statement, name) and around(module, statement) is None:
            error = statement.exc
            return ast.unparse(error.func if isinstance(error, ast.Call) else error)
    return None


def _leaf(module: Module, name: str) -> bool:
    """Whether a class is known to be no group and nothing that catches one."""
    if name == "?" or name in WHOLE or not name.rpartition(".")[2].rpartition(":")[2][:1].isupper():
        return False
    if ":" in name:
        found = module.project.definition(name)
        if found is None or not isinstance(found[1], ast.ClassDef):
            return False
        return not module.project.is_a(
            name, "builtins.ExceptionGroup", "builtins.BaseExceptionGroup"
        )
    return True


def _covers(module: Module, caught_name: str, name: str) -> bool:
    if caught_name in ("?", name, "builtins.Exception", "builtins.BaseException"):
        return True
    return caught_name == "starlette.exceptions.HTTPException" or module.project.is_a(
        name, caught_name
    )


def _registers(path: Path) -> bool:
    try:
        source = path.read_bytes()
    except OSError:
        return False
    return b"ExceptionGroup" in source and b"exception_handler" in source
