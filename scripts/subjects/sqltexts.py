"""SQL written as text: what it says, and by what it is executed."""

import ast
import re
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, function_of, parents
from project.values import ENGINE, SESSION

CONNECTION = "sqlalchemy.ext.asyncio.AsyncConnection"
SQLALCHEMY = {
    *(SESSION, CONNECTION, ENGINE, "sqlalchemy.orm.Session", "sqlalchemy.Connection"),
    *("sqlalchemy.engine.Connection", "sqlmodel.Session", "sqlalchemy.orm.scoped_session"),
}
EXECUTES = {"execute", "exec", "scalar", "scalars", "stream", "stream_scalars", "exec_driver_sql"}
PLAIN = r"statement_timeout|lock_timeout|idle_in_transaction_session_timeout|transaction_timeout"
PLAIN += r"|search_path|timezone|work_mem|maintenance_work_mem|enable_\w+|random_page_cost|jit"
PLAIN += r"|row_security|application_name|synchronous_commit|session_replication_role"
PLAIN += r"|default_transaction_\w+|max_parallel_\w+|client_min_messages|[a-z_]\w*\.[a-z_][\w.]*"
SET = re.compile(
    rf"^\s*SET\s+(?:SESSION\s+)?(?P<name>(?:{PLAIN})(?=\s*(?:=|TO\b))"
    r"|ROLE(?!\s+NONE)\b|SESSION AUTHORIZATION|TIME ZONE)"
    r"(?!\s*(?:=|TO\b)?\s*(?:DEFAULT|LOCAL)\b)\s*(?:=|TO\b)?\s*(?P<value>[^;]*)",
    re.IGNORECASE,
)
SET_CONFIG = re.compile(
    r"set_config\s*\((?P<arguments>[^()]*),\s*(?P<last>false|'false'|0|off)\s*\)", re.IGNORECASE
)


def texts(module: Module) -> Iterator[tuple[ast.expr, str]]:
    """String literals and f-strings of a module, with `{...}` for what is filled in."""
    for node in module.all(ast.Constant):
        if isinstance(node.value, str) and not isinstance(node.parent, ast.JoinedStr | ast.Expr):
            yield node, node.value
    for node in module.all(ast.JoinedStr):
        yield node, written(node)


def written(node: ast.Constant | ast.JoinedStr) -> str:
    """What a string literal or an f-string says, with `{...}` for what is filled in."""
    values = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(map(_part, values))


def _part(value: ast.expr) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value)
    return f"{{{ast.unparse(value.value)}}}" if isinstance(value, ast.FormattedValue) else ""


def execution(module: Module, node: ast.AST) -> ast.Call | None:
    """The `execute(...)` that runs a text or an expression, written into it or held by a name."""
    for above in parents(node):
        if isinstance(above, ast.Lambda):
            return None
        if isinstance(above, ast.stmt):
            return _execution_of_name(module, above)
        if _executes(above):
            return above
    return None


def _executes(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in EXECUTES
    )


def _execution_of_name(module: Module, statement: ast.stmt) -> ast.Call | None:
    target = statement.targets[0] if isinstance(statement, ast.Assign) else None
    if not isinstance(target, ast.Name):
        return None
    scope = function_of(statement)
    for use in _executed(module).get(target.id, ()):
        if scope is None or function_of(use) is scope:
            return use.parent
    return None


def _executed(module: Module) -> dict[str, list[ast.Name]]:
    """The names that a module gives to `execute` as its statement."""
    if not hasattr(module, "executed"):
        module.executed = {}
        for name in module.all(ast.Name):
            call = name.parent
            if name.slot == "args" and _executes(call) and call.args[0] is name:
                module.executed.setdefault(name.id, []).append(name)
    return module.executed


def by_sqlalchemy(module: Module, call: ast.Call) -> bool:
    """Whether a session or connection of SQLAlchemy executes it, on a pool's connection.

    What an event hands over, such as a cursor, is none.
    """
    owner = call.func.value
    kind = module.value(owner)
    if kind is not None:
        return kind in SQLALCHEMY
    made = [each for each in ast.walk(call) if isinstance(each, ast.Call)]
    return isinstance(call.parent, ast.Await) and any(
        module.name(each.func) in ("sqlalchemy.text", "sqlalchemy.select") for each in made
    )


def is_listener(module: Module, node: ast.AST) -> bool:
    """Whether code stands in a listener of SQLAlchemy's events."""
    function = function_of(node)
    if not isinstance(function, FUNCTIONS):
        return function is not None
    if any("listens_for" in ast.unparse(mark) for mark in function.decorator_list):
        return True
    return any(
        isinstance(argument, ast.Name) and argument.id == function.name
        for call in module.calls("sqlalchemy.event.listen")
        for argument in call.args
    )
