"""Providers with a `yield`: what runs after it, and what it lets through."""

import ast
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, inside, own, parents
from project.values import SESSION

SESSIONS = (SESSION, "sqlalchemy.orm.Session", "sqlmodel.Session")
MANAGED = {"contextlib.asynccontextmanager", "contextlib.contextmanager"}
BROAD = {"builtins.Exception", "builtins.BaseException"}
DATABASE = ("sqlalchemy.exc.", "asyncpg.exceptions.", "asyncpg.PostgresError", "psycopg.Error")
STORES = {"sqlalchemy", "sqlmodel", "asyncpg", "psycopg", "psycopg2", "aiosqlite", "sqlite3"}
STORES |= {"aiomysql", "asyncmy", "databases", "pymongo", "motor"}
DEEP = 4


def generators(module: Module) -> Iterator[ast.AST]:
    """The providers of a module that have a `yield`."""
    here = f"{module.path}:"
    if not any(name.startswith(here) for name in module.project.facts.providers):
        return
    for function in module.all(*FUNCTIONS):
        if module.project.is_provider(function, module) and yields(function):
            yield function


def yields(function: ast.AST) -> list[ast.Yield]:
    """The `yield` expressions of a function's own body."""
    if "yields" not in function.__dict__:
        function.yields = [each for each in own(function) if isinstance(each, ast.Yield)]
    found: list[ast.Yield] = function.yields
    return found


def in_default_scope(module: Module, function: ast.AST) -> bool:
    """Whether some `Depends` leaves a provider's exit to the time after the response."""
    scopes = module.project.facts.providers.get(module.project.named(module, function), set())
    return bool(scopes & {"", "request"})


def committing(module: Module, function: ast.AST, depth: int = 0) -> ast.AST | None:
    """What commits after a function's `yield`: a call of `commit`, or a block around it."""
    handed = yields(function)
    if not handed or depth > DEEP:
        return None
    for each in handed:
        for item in _around(each, function):
            if _commits_at_exit(module, item.context_expr, depth):
                return item.context_expr
    for call in inside(function, ast.Call):
        if getattr(call.func, "attr", "") == "commit" and not call.args and _of_rows(module, call):
            late = call.lineno > min(each.lineno for each in handed)
            if late and not any(isinstance(each, ast.ExceptHandler) for each in parents(call)):
                return call
    return None


def swallowers(module: Module, function: ast.AST) -> Iterator[ast.ExceptHandler]:
    """The handlers around a function's `yield` that take an endpoint's error and do not raise."""
    seen: set[ast.AST] = set()
    for each in yields(function):
        for above, below in _tries(each, function):
            if below != "body" or above in seen:
                continue
            seen.add(above)
            if _raises_after(function, above):
                continue
            for handler in above.handlers:
                if broad(module, handler.type) and not _raises(module, handler):
                    yield handler


def final_commits(module: Module, function: ast.AST) -> Iterator[ast.Call]:
    """The commits in a `finally` around a function's `yield`."""
    seen: set[ast.AST] = set()
    for each in yields(function):
        for above, below in _tries(each, function):
            if below == "body" and above not in seen and not _rolls_back(module, above):
                seen.add(above)
                yield from (call for line in above.finalbody for call in _commits(line))


def suppressors(module: Module, function: ast.AST) -> Iterator[ast.Call]:
    """The calls of `suppress` around a function's `yield` that take an endpoint's error."""
    for each in yields(function):
        for above in parents(each):
            if above is function:
                break
            for item in getattr(above, "items", ()) if isinstance(above, ast.With) else ():
                call = item.context_expr
                named = isinstance(call, ast.Call) and module.name(call.func)
                if named == "contextlib.suppress" and any(broad(module, arg) for arg in call.args):
                    yield call


def broad(module: Module, node: ast.expr | None) -> bool:
    """Whether a handler's class takes an HTTPException, or what a database raises."""
    if node is None:
        return True
    names = [module.name(each) for each in (node.elts if isinstance(node, ast.Tuple) else [node])]
    return any(
        name and (name in BROAD or name.endswith(".HTTPException") or name.startswith(DATABASE))
        for name in names
    )


def _raises_after(function: ast.AST, node: ast.Try) -> bool:
    """Whether an error may be raised again behind a `try`, or in its `finally`."""
    last = node.finalbody[0].lineno if node.finalbody else node.end_lineno
    return any(each.lineno >= last for each in inside(function, ast.Raise))


def _rolls_back(module: Module, node: ast.Try) -> bool:
    """Whether a handler takes any error and rolls back, so that a later commit is empty."""
    return any(
        each.type is None or module.name(each.type) in BROAD
        for each in node.handlers
        for call in inside(each, ast.Call)
        if getattr(call.func, "attr", "") == "rollback"
    )


def _commits(statement: ast.stmt) -> Iterator[ast.Call]:
    for each in ast.walk(statement):
        called = isinstance(each, ast.Call) and getattr(each.func, "attr", "") == "commit"
        if called and not each.args and not _conditional(each, statement):
            yield each


def _conditional(node: ast.AST, top: ast.stmt) -> bool:
    while node is not top:
        if isinstance(node, ast.If):
            return True
        node = node.parent
    return isinstance(top, ast.If)


def _tries(node: ast.AST, function: ast.AST) -> Iterator[tuple[ast.Try, str]]:
    """The `try` statements around a node in a function, and the part that the node is in."""
    below = node
    for above in parents(node):
        if above is function:
            return
        if isinstance(above, ast.Try):
            yield above, below.slot
        below = above


def _around(node: ast.AST, function: ast.AST) -> Iterator[ast.withitem]:
    for above in parents(node):
        if above is function:
            return
        if isinstance(above, ast.With | ast.AsyncWith):
            yield from above.items


def _commits_at_exit(module: Module, node: ast.expr, depth: int) -> bool:
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute) and node.func.attr == "begin":
        return not node.args and _of_rows(module, node)
    found = module.project.definition(called(module, node))
    if found is None:
        return False
    home, definition = found
    if isinstance(definition, ast.ClassDef):
        exits = [
            each
            for each in definition.body
            if isinstance(each, FUNCTIONS) and each.name in ("__aexit__", "__exit__")
        ]
        return any(call for each in exits for line in each.body for call in _always(line))
    marks = {home.name(mark) for mark in definition.decorator_list}
    return bool(marks & MANAGED) and committing(home, definition, depth + 1) is not None


def _of_rows(module: Module, call: ast.Call) -> bool:
    """Whether a method is one of a database's, as far as the class of its owner is known."""
    kind = module.value(getattr(call.func, "value", None))
    return kind is None or ":" in kind or kind.partition(".")[0] in STORES


def _always(statement: ast.stmt) -> Iterator[ast.Call]:
    for each in ast.walk(statement):
        if isinstance(each, ast.Call) and getattr(each.func, "attr", "") == "commit":
            yield each


def called(module: Module, call: ast.Call) -> str | None:
    """The name of the function or class of the project that a call reaches."""
    name = module.name(call.func)
    if module.project.definition(name) or not isinstance(call.func, ast.Attribute):
        return name
    owner = module.value(call.func.value)
    return f"{owner}.{call.func.attr}" if owner and ":" in owner else name


def _raises(module: Module, handler: ast.ExceptHandler) -> bool:
    for statement in handler.body:
        for each in ast.walk(statement):
            if isinstance(each, ast.Raise):
                return True
            if isinstance(each, ast.Call):
                if "raise" in ast.unparse(each.func):
                    return True
                found = module.project.definition(module.name(each.func))
                body = own(found[1]) if found and isinstance(found[1], FUNCTIONS) else ()
                if any(isinstance(inner, ast.Raise) for inner in body):
                    return True
    return False
