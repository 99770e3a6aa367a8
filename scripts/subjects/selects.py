"""SQL statements as they are built in a function: what they select, write or lock."""

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

from subjects.sessions import calls_on, following, session_of, text

SELECTS = {"sqlalchemy.select", "sqlalchemy.sql.select", "sqlalchemy.sql.expression.select"}
WRITES = {
    f"{home}.{name}"
    for home in ("sqlalchemy", "sqlalchemy.dialects.postgresql", "sqlalchemy.sql.expression")
    for name in ("insert", "update", "delete")
}
BOUNDS = {"yield_per", "partitions", "fetchmany", "limit", "fetch"}
BATCHES = ".execution_options(yield_per=500)"
LENGTH = 100  # characters of a rewritten call, beyond which its middle is left out
ONE = {"scalar_one", "scalar_one_or_none", "scalar"}
GETS = {"get", "get_one"}
FIRST = {"first", "one", "one_or_none"}


def built_from(module: Module, node: ast.AST | None) -> list[ast.expr]:
    """The expressions a statement comes from: itself, or all that a local variable is set to."""
    function = function_of(node) if node is not None else None
    if not isinstance(node, ast.Name) or function is None:
        return [node] if isinstance(node, ast.expr) else []
    values = []
    for bound in module.bindings(function).get(node.id, []):
        holder = bound.parent
        if not isinstance(holder, ast.Assign | ast.AnnAssign) or holder.value is None:
            return []
        values.append(holder.value)
    return values


def head(node: ast.AST) -> ast.AST:
    """The first call of `a(...).b(...).c(...)`, or the name such a chain begins with."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        inner = node.func.value
        while isinstance(inner, ast.Attribute):
            inner = inner.value
        if not isinstance(inner, ast.Call):
            return node
        node = inner
    return node


def heads(module: Module, node: ast.AST | None) -> Iterator[ast.Call]:
    """The calls, `select(...)` or `update(...)`, that a statement begins with."""
    for value in built_from(module, node):
        first = head(value)
        if isinstance(first, ast.Call):
            yield first


def argument(call: ast.Call) -> ast.expr | None:
    """The statement that a session is given."""
    return call.args[0] if call.args else keyword(call, "statement")


def is_write(module: Module, call: ast.Call) -> bool:
    """Whether a session's call runs an INSERT, UPDATE or DELETE."""
    if call.func.attr == "flush":
        return True
    return any(module.name(each.func) in WRITES for each in heads(module, argument(call)))


def entity(module: Module, call: ast.Call) -> str:
    """The mapped class that a session's call gets objects of, as it is written, or nothing."""
    if call.func.attr in GETS:
        return text(call.args[0]) if call.args else ""
    for each in heads(module, argument(call)):
        if module.name(each.func) in SELECTS and len(each.args) == 1:
            written = text(each.args[0])
            if written.rpartition(".")[2][:1].isupper():
                return written
    return ""


def streams_all(module: Module, call: ast.Call) -> str:
    """The class all of whose selected objects a `stream` makes at once, or nothing."""
    function = function_of(call)
    selected = entity(module, call)
    if not selected or not isinstance(function, FUNCTIONS):
        return ""
    options = keyword(call, "execution_options")
    if options is not None and not isinstance(options, ast.Dict):
        return ""
    for each in own(function):
        if isinstance(each, ast.Attribute) and each.attr in BOUNDS:
            return ""
        if isinstance(each, ast.Constant) and each.value == "yield_per":
            return ""
        if isinstance(each, ast.keyword) and each.arg in (*BOUNDS, None):
            return ""
    return selected


def rewritten(call: ast.Call) -> str:
    """A `stream` whose statement yields in batches."""
    statement = ast.unparse(argument(call))
    whole = f"{text(call.func)}({statement}{BATCHES})"
    return whole if len(whole) <= LENGTH else f"{text(call.func)}(... {BATCHES})"


def is_listed(module: Module, call: ast.Call) -> bool:
    """Whether few rows are selected, by a list of keys, or all of them are kept in a list."""
    return any(isinstance(each, ast.comprehension) for each in parents(call)) or any(
        isinstance(each, ast.Attribute) and each.attr in ("in_", "any_")
        for value in built_from(module, argument(call))
        for each in ast.walk(value)
    )


def rows(module: Module, function: ast.AST) -> Iterator[tuple[str, str, ast.AST]]:
    """Each variable a function sets once to an object of a session: name, session, where."""
    for name, bound in module.bindings(function).items():
        if len(bound) != 1 or not isinstance(bound[0], ast.Name):
            continue
        holder = bound[0].parent
        value = holder.value if isinstance(holder, ast.Assign | ast.NamedExpr) else None
        if session := _object_from(module, value):
            yield name, session, bound[0]


def _object_from(module: Module, node: ast.AST | None, then: tuple[str, ...] = ()) -> str:
    """The session whose object, not a row of columns, an expression is."""
    methods = list(then)
    while True:
        if isinstance(node, ast.Await):
            node = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if session := session_of(module, node):
                return session if _is_object(module, node, methods[::-1]) else ""
            methods.append(node.func.attr)
            node = node.func.value
        elif isinstance(node, ast.Name) and methods and not then:
            # `result = await session.execute(...)`, perhaps several times over.
            values = built_from(module, node)
            found = {_object_from(module, each, tuple(methods)) for each in values}
            return found.pop() if len(found) == 1 else ""
        else:
            return ""


def _is_object(module: Module, call: ast.Call, then: list[str]) -> bool:
    method = call.func.attr
    if method in GETS:
        return not then
    if not entity(module, call):
        return False
    if method == "scalar":
        return not then
    if method == "scalars":
        return len(then) == 1 and then[0] in FIRST
    if method == "execute":
        then = [each for each in then if each != "unique"]
        return (len(then) == 1 and then[0] in ONE) or (len(then) == 2 and then[0] == "scalars")
    return False


def attributes(node: ast.AST, name: str) -> Iterator[ast.Attribute]:
    """The attributes of a variable that are read below a node, methods left out."""
    for each in inside(node, ast.Attribute):
        if (
            isinstance(each.value, ast.Name)
            and each.value.id == name
            and isinstance(each.ctx, ast.Load)
            and not (isinstance(each.parent, ast.Call) and each.slot == "func")
        ):
            yield each


def expired(module: Module, rollback: ast.Call) -> Iterator[ast.Attribute]:
    """The first read of each loaded object of a session after its rollback."""
    function = function_of(rollback)
    session = text(rollback.func.value)
    if not isinstance(function, ast.AsyncFunctionDef) or not isinstance(rollback.parent, ast.Await):
        return
    found = {
        name
        for name, held, bound in rows(module, function)
        if held == session and bound.lineno < rollback.lineno
    }
    for statement in following(statement_of(rollback)) if found else ():
        below = ast.Module([statement], [])
        if calls_on(module, below, session, {"refresh", "merge"}):
            return
        for name in sorted(found):
            if read := next(attributes(below, name), None):
                found.discard(name)
                yield read
