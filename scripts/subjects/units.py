"""What happens in the transaction of a block: who commits it, who opens another session."""

import ast
from collections.abc import Iterator

from project.module import (
    FUNCTIONS,
    Module,
    function_of,
    inside,
    keyword,
    own,
    parents,
    statement_of,
)
from project.values import FACTORY, SESSION

from subjects.sessions import (
    STATEMENTS,
    Block,
    factory,
    following,
    is_session,
    loop_between,
    parameter,
    session_of,
    text,
)

SLEEPS = {"asyncio.sleep", "anyio.sleep"}
CLIENTS = {"httpx.AsyncClient", "httpx2.AsyncClient", "aiohttp.ClientSession"}
REQUESTS = {"get", "post", "put", "patch", "delete", "request", "send", "stream"}
WAITERS = ("sem", "slot", "limit", "lock", "guard", "throttle", "bounded")


def commits(module: Module, block: Block) -> Iterator[tuple[ast.Call, str, int]]:
    """Calls in a block that commit its session too early: call, file, line of the commit."""
    used = [call for call in inside(block.node, ast.Call) if _uses(module, call, block.name)]
    for call in used:
        here = session_of(module, call, {"commit"}) == block.name
        place = (module.path, call.lineno) if here else _callee(module, call, block.name)
        others = (
            [each for each in used if each is not call and not _around(each, call)] if place else []
        )
        if not place or not others:
            continue
        looped = loop_between(call, block.node) is not None
        if not here or looped or _comes_to(call, others):
            yield call, *place


def _comes_to(call: ast.Call, others: list[ast.Call]) -> bool:
    """Whether one of these calls runs after a call, unless control leaves before."""
    later = {id(above) for each in others for above in parents(each)}
    return any(id(statement) in later for statement in following(statement_of(call)))


def _uses(module: Module, call: ast.Call, session: str) -> bool:
    """Whether a call is one on the session, or is given it, or is a method of what was given it."""
    function = call.func
    if isinstance(function, ast.Attribute):
        if text(function.value) == session:
            return function.attr in STATEMENTS | {"commit", "add", "add_all", "begin_nested"}
        if _holds(module, function.value, session):
            return True
    passed = [*call.args, *(each.value for each in call.keywords)]
    return isinstance(call.parent, ast.Await) and any(text(each) == session for each in passed)


def _holds(module: Module, node: ast.AST, session: str) -> bool:
    """Whether an object was made with the session: `Repository(session)`, or a name for it."""
    made: ast.AST | None = node
    function = function_of(node)
    if isinstance(node, ast.Name) and isinstance(function, FUNCTIONS):
        bound = module.bindings(function).get(node.id, [])
        made = getattr(bound[0].parent, "value", None) if len(bound) == 1 else None
    return (
        isinstance(made, ast.Call)
        and any(text(each) == session for each in [*made.args, *(k.value for k in made.keywords)])
        and is_session(module, next(_named(made, session)))
    )


def _named(call: ast.Call, session: str) -> Iterator[ast.expr]:
    for each in [*call.args, *(word.value for word in call.keywords)]:
        if text(each) == session:
            yield each


def _callee(module: Module, call: ast.Call, session: str) -> tuple[str, int] | None:
    """Where a function of the project commits the session that a call hands it."""
    found = module.project.definition(module.name(call.func))
    bound = False
    if found is None and isinstance(call.func, ast.Attribute):
        owner = module.value(call.func.value)
        found = module.project.definition(f"{owner}.{call.func.attr}") if owner else None
        bound = True
    if not found or not isinstance(found[1], ast.AsyncFunctionDef):
        return None
    home, function = found
    if any(
        isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in function.decorator_list
    ):
        bound = False
    name = parameter(function, call, session, bound)
    for each in own(function):
        if not isinstance(each, ast.Call) or getattr(each.func, "attr", "") != "commit":
            continue
        mine = text(each.func.value)
        given = name is not None and mine == name
        kept = name is None and mine.startswith("self.") and is_session(home, each.func.value)
        if (given or kept) and not _conditional(each, function):
            return home.path, each.lineno
    return None


def _conditional(node: ast.AST, function: ast.AST) -> bool:
    for above in parents(node):
        if above is function:
            return False
        if isinstance(above, ast.If | ast.ExceptHandler | ast.IfExp):
            return True
    return False


def _around(outer: ast.AST, node: ast.AST) -> bool:
    return any(above is outer for above in parents(node))


def _place(node: ast.AST) -> tuple[int, int]:
    return node.lineno, node.col_offset


def is_script(module: Module) -> bool:
    """Whether a file is run by hand, so that nobody waits for what it holds."""
    folders = {"script", "scripts", "tools", "examples", "benches", "benchmarks"}
    return bool(folders.intersection(module.path.split("/")[:-1])) or any(
        text(each.test.left) == "__name__"
        for each in module.tree.body
        if isinstance(each, ast.If) and isinstance(each.test, ast.Compare)
    )


def nested(module: Module, found: list[Block]) -> Iterator[tuple[Block, Block]]:
    """Blocks within blocks whose sessions come from one factory, the outer one in a transaction."""
    around = {block.node: (block, factory(module, block.opener)) for block in found if block.owns}
    for inner, made in around.values():
        if not made or _waits(inner.node):
            continue
        above = [each for each in parents(inner.node) if each in around or _waits(each)]
        if any(map(_waits, above)):
            continue
        for outer, other in map(around.__getitem__, above):
            if (
                made == other
                and outer.name != inner.name
                and function_of(outer.node) is function_of(inner.node)
                and _in_transaction(module, outer, inner.node)
            ):
                yield outer, inner
                break


def _waits(node: ast.AST) -> bool:
    return isinstance(node, ast.AsyncWith) and any(
        any(word in ast.unparse(item.context_expr).lower() for word in WAITERS)
        for item in node.items
    )


def _in_transaction(module: Module, outer: Block, before: ast.AST) -> bool:
    """Whether the last that ran on a block's session before a node was a statement."""
    last = ""
    for call in inside(outer.node, ast.Call):
        if _place(call) >= _place(before):
            break
        names = STATEMENTS | {"commit", "rollback", "close"}
        if session_of(module, call, names) == outer.name:
            last = call.func.attr
    return last in STATEMENTS


def slow_calls(module: Module, block: Block) -> Iterator[tuple[ast.Call, int]]:
    """Calls to other services, or sleeps, after a statement in a block: call, statement's line."""
    last: ast.Call | None = None
    for call in inside(block.node, ast.Call):
        method = session_of(module, call, STATEMENTS | {"commit", "rollback", "close"})
        if method == block.name:
            last = call if call.func.attr in STATEMENTS else None
        elif last is not None and _place(call) > _place(last) and _is_slow(module, call):
            yield call, last.lineno


def _is_slow(module: Module, call: ast.Call) -> bool:
    if not isinstance(call.parent, ast.Await | ast.withitem):
        return False
    if module.name(call.func) in SLEEPS:
        seconds = call.args[0] if call.args else None
        return isinstance(seconds, ast.Constant) and seconds.value not in (0, 0.0)
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in REQUESTS:
        return False
    return module.value(call.func.value) in CLIENTS


def fixture_sessions(module: Module) -> Iterator[tuple[ast.Call, str]]:
    """Sessions of tests that join a transaction without a savepoint: call, connection."""
    for call in module.all(ast.Call) if module.is_test else ():
        made = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if made in ("AsyncSession", "async_sessionmaker"):
            connection = _joined(module, call)
            if connection and module.value(call) in (SESSION, FACTORY):
                yield call, connection


def _joined(module: Module, call: ast.Call) -> str:
    """The connection whose transaction a test's session joins without a savepoint, or nothing."""
    bind = call.args[0] if call.args else keyword(call, "bind")
    mode = keyword(call, "join_transaction_mode")
    function = function_of(call)
    if bind is None or mode is not None or not isinstance(function, FUNCTIONS):
        return ""
    if any(word.arg is None for word in call.keywords):
        return ""
    if module.value(bind) != "sqlalchemy.ext.asyncio.AsyncConnection":
        return ""
    begun = False
    for each in own(function):
        if not isinstance(each, ast.Call) or not isinstance(each.func, ast.Attribute):
            continue
        method = each.func.attr
        if method in ("begin_nested", "listens_for", "listen", "commit"):
            return ""
        begun = begun or (method == "begin" and text(each.func.value) in ("", text(bind)))
        begun = begun or (method == "begin" and _enters(each, text(bind)))
    return text(bind) if begun else ""


def _enters(call: ast.Call, name: str) -> bool:
    """Whether a call is the `engine.begin()` of `async with engine.begin() as name`."""
    item = call.parent
    return isinstance(item, ast.withitem) and (
        item.optional_vars is not None and text(item.optional_vars) == name
    )
