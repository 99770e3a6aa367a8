"""Code that runs Alembic: env.py and what calls its commands."""

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from project.module import (
    FUNCTIONS,
    Module,
    arguments,
    class_of,
    function_of,
    in_coroutine,
    parents,
)

from subjects.sql import constant

RUNS = ("execute", "exec_driver_sql", "scalar", "scalars")
ENDS = ("commit", "rollback", "close")
COMMANDS = ("alembic.command.upgrade", "alembic.command.downgrade")
_MIGRATES = re.compile(r"migrat|upgrade|alembic", re.IGNORECASE)
_LOCK = re.compile(r"\bpg_advisory_(?:xact_)?lock\s*\(", re.IGNORECASE)
_Place = tuple[int, int]


def unfinished(module: Module) -> Iterator[tuple[ast.Call, str, str]]:
    """SQL on a connection that is given to Alembic before it is committed.

    Yields the call, the connection's name, and what is called on it to commit.
    """
    if b"AUTOCOMMIT" in module.source:
        return
    for call in module.all(ast.Call):
        connection = _given(module, call)
        if connection is None or _is_committed_by_caller(module, call, connection):
            continue
        function = function_of(call)
        within = _opened(call, connection) or function or module.tree
        on = [each for each in _calls_on(within, connection) if function_of(each) is function]
        if any(each.func.attr in ("commit", "begin") and _at(each) > _at(call) for each in on):
            continue
        if any(_at(each) > _at(call) for each in _helped(module, within, connection, commits=True)):
            continue
        before = [each for each in on if _at(each) < _at(call)]
        ended = max((_at(each) for each in before if each.func.attr in ENDS), default=(0, 0))
        left = [each for each in before if each.func.attr in RUNS and _at(each) > ended]
        left += [
            each
            for each in _helped(module, within, connection)
            if ended < _at(each) < _at(call) and function_of(each) is function
        ]
        if left and not any(each.func.attr == "begin" for each in before):
            last = max(left, key=_at)
            wait = "await " if function is not None and in_coroutine(call) else ""
            yield last, connection, f"{wait}{connection}.commit()"


def for_alembic(module: Module, call: ast.Call) -> bool:
    """Whether the connection that a statement runs on is then given to Alembic."""
    owner = getattr(call.func, "value", None)
    if not isinstance(owner, ast.Name):
        return False
    for each in module.all(ast.Call, ast.Assign):
        if function_of(each) is not function_of(call) or _at(each) < _at(call):
            continue
        if isinstance(each, ast.Call) and _given(module, each) == owner.id:
            return True
        held = each.targets[0] if isinstance(each, ast.Assign) else None
        option = isinstance(held, ast.Subscript) and getattr(held.value, "attr", "") == "attributes"
        if option and getattr(each.value, "id", "") == owner.id:
            return True
    return False


def _opened(call: ast.Call, connection: str) -> ast.AST | None:
    """The `with` around a call that opens its connection."""
    for above in parents(call):
        for item in above.items if isinstance(above, ast.With | ast.AsyncWith) else ():
            if getattr(item.optional_vars, "id", None) == connection:
                return above
    return None


def _helped(
    module: Module, within: ast.AST, connection: str, commits: bool = False
) -> Iterator[ast.Call]:
    """Calls that hand the connection to a function of the project which leaves SQL on it.

    Or, if asked so, to one that commits.
    """
    for call in ast.walk(within):
        if not isinstance(call, ast.Call) or not call.args:
            continue
        if getattr(call.args[0], "id", None) != connection:
            continue
        found = module.project.definition(module.name(call.func))
        if not found or not isinstance(found[1], FUNCTIONS) or not arguments(found[1]):
            continue
        own = _calls_on(found[1], arguments(found[1])[0].arg)
        names = {each.func.attr for each in own}
        leaves = names.intersection(RUNS) and not names.intersection((*ENDS, "begin"))
        if "commit" in names if commits else leaves:
            yield call


def _given(module: Module, call: ast.Call) -> str | None:
    """The connection that a call hands to Alembic, by its name."""
    if getattr(call.func, "attr", "") not in ("configure", "run_sync"):
        return None
    if module.name(call.func) == "alembic.context.configure":
        given = next((each.value for each in call.keywords if each.arg == "connection"), None)
        return given.id if isinstance(given, ast.Name) else None
    on = call.func.value if isinstance(call.func, ast.Attribute) else None
    if getattr(call.func, "attr", "") == "run_sync" and isinstance(on, ast.Name) and call.args:
        return on.id if _migrates(module, call.args[0]) else None
    return None


def _migrates(module: Module, node: ast.expr) -> bool:
    """Whether what `run_sync` gets runs migrations: by its code, or else by its name."""
    found = module.project.definition(module.name(node))
    if found:
        home, definition = found
        names = {
            home.name(each.func) for each in ast.walk(definition) if isinstance(each, ast.Call)
        }
        return bool(names.intersection((*COMMANDS, "alembic.context.configure")))
    return isinstance(node, ast.Name) and bool(_MIGRATES.search(node.id))


def _calls_on(within: ast.AST, name: str) -> list[ast.Call]:
    return [
        each
        for each in ast.walk(within)
        if isinstance(each, ast.Call)
        and isinstance(each.func, ast.Attribute)
        and isinstance(each.func.value, ast.Name)
        and each.func.value.id == name
    ]


def _is_committed_by_caller(module: Module, call: ast.Call, connection: str) -> bool:
    """Whether somebody opened the transaction who will commit it: `with engine.begin() as c`."""
    function = function_of(call)
    opened = _opened(call, connection)
    for item in opened.items if opened is not None else ():
        if getattr(item.optional_vars, "id", None) == connection:
            return not _connects(item.context_expr)
    bound = module.bindings(function).get(connection) if isinstance(function, FUNCTIONS) else None
    if not bound:
        return True
    if not isinstance(bound[0], ast.arg):
        return len(bound) > 1 or not _connects(getattr(bound[0].parent, "value", None))
    # A parameter: the callers in this module know.
    callers = [
        each
        for each in module.all(ast.Name)
        if each.id == function.name and isinstance(each.ctx, ast.Load)
    ]
    return not callers or any(map(_commits, callers))


def _connects(node: ast.AST | None) -> bool:
    """Whether an expression is `engine.connect()`, with options or without."""
    named = (
        {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)} if node else ()
    )
    return "connect" in named and "begin" not in named


def _commits(node: ast.Name) -> bool:
    """Whether the `with` around a use of a function commits: by `begin()` or in so many words."""
    for above in parents(node):
        if isinstance(above, ast.With | ast.AsyncWith):
            opened = {
                getattr(getattr(one.context_expr, "func", None), "attr", "") for one in above.items
            }
            named = {each.attr for each in ast.walk(above) if isinstance(each, ast.Attribute)}
            return "begin" in opened or "commit" in named
        if isinstance(above, FUNCTIONS):
            named = {each.attr for each in ast.walk(above) if isinstance(each, ast.Attribute)}
            return "begin" in named or "commit" in named
    return False


def _at(node: ast.AST) -> _Place:
    return node.lineno, node.col_offset


def waiting_locks(module: Module) -> Iterator[tuple[ast.Call, str]]:
    """Advisory locks that a module which runs migrations waits for: the call, and the function."""
    runs = ("alembic.context.configure", "alembic.context.run_migrations", *COMMANDS)
    if not module.calls(*runs):
        return
    for call in module.all(ast.Call):
        if lock := _lock(module, call):
            yield call, lock
            continue
        called = module.project.definition(module.name(call.func))
        if called and called[0] is not module and isinstance(called[1], FUNCTIONS):
            inner = (each for each in ast.walk(called[1]) if isinstance(each, ast.Call))
            if lock := next(filter(None, (_lock(called[0], each) for each in inner)), None):
                yield call, lock


def _lock(module: Module, call: ast.Call) -> str | None:
    """The function of PostgreSQL that a call executes to wait for an advisory lock."""
    if getattr(call.func, "attr", "") not in RUNS or not call.args:
        return None
    found = _LOCK.search(constant(module, call.args[0]) or "")
    return found[0].rstrip("( ").lower() if found else None


def revisions_say(module: Module, word: bytes) -> bool:
    """Whether a revision of the project holds a word."""
    for name, path in module.project.files.items():
        if "versions" in PurePosixPath(name).parts:
            try:
                if word in path.read_bytes():
                    return True
            except OSError:
                continue
    return False


def upgrades_on_a_loop(module: Module) -> Iterator[tuple[ast.Call, str, str, bool]]:
    """Calls that run Alembic in a coroutine: the call, what happens there, what to write.

    The last part is whether it is a hint, as every env.py of the project runs without a loop.
    """
    for call in module.all(ast.Call):
        if not in_coroutine(call):
            continue
        name = module.name(call.func) or _method(module, call)
        command = name if name in COMMANDS else _leads_to(module, name)
        if command:
            given = [ast.unparse(call.func), *map(ast.unparse, call.args)]
            given += [ast.unparse(each) for each in call.keywords]
            short = command.removeprefix("alembic.")
            yield (
                call,
                f"{short} holds the loop until the last revision is done, and fails where env.py"
                " calls asyncio.run",
                f"await asyncio.to_thread({', '.join(given)})",
                _runs_no_loop(module),
            )


def _method(module: Module, call: ast.Call) -> str | None:
    """The name of a method that a class calls on itself."""
    owner = class_of(call)
    own = isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") == "self"
    return f"{module.project.named(module, owner)}.{call.func.attr}" if own and owner else None


def _runs_no_loop(module: Module) -> bool:
    """Whether the project has env.py files, and none of them starts a loop."""
    found = False
    for name, path in module.project.files.items():
        if PurePosixPath(name).name == "env.py":
            try:
                source = path.read_bytes()
            except OSError:
                continue
            if b"asyncio.run(" in source or b"run_until_complete" in source:
                return False
            found = found or b"alembic" in source
    return found


def _leads_to(module: Module, name: str | None) -> str | None:
    """The command that a plain function of the project calls in its own body."""
    found = module.project.definition(name)
    if not found or not isinstance(found[1], ast.FunctionDef):
        return None
    home, definition = found
    for command in COMMANDS:
        if any(function_of(each) is definition for each in home.calls(command)):
            return command
    return None
