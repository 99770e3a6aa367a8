"""The line that a middleware writes about a response."""

import ast
from collections.abc import Iterator

from subjects.handlers import up_to
from subjects.middlewares import Entry

LOGS = {"debug", "info", "warning", "error", "exception", "log"}


def unguarded_log(entry: Entry) -> ast.Call | None:
    """The first line about a response that is not written when `call_next` raises."""
    awaited = _next(entry.function)
    if awaited is None or any(isinstance(each, ast.Try) for each in up_to(awaited, entry.function)):
        return None
    return next(_logs(entry.function, awaited), None)


def _next(function: ast.AST) -> ast.Await | None:
    calls = [
        each
        for each in ast.walk(function)
        if isinstance(each, ast.Await)
        and isinstance(each.value, ast.Call)
        and getattr(each.value.func, "id", "") == "call_next"
    ]
    return calls[0] if len(calls) == 1 else None


def _logs(function: ast.AST, awaited: ast.Await) -> Iterator[ast.Call]:
    """The calls of a logger after `call_next`, on the straight way, that tell status or time."""
    for statement in function.body:
        call = statement.value if isinstance(statement, ast.Expr) else None
        if not isinstance(call, ast.Call) or statement.lineno <= awaited.lineno:
            continue
        verb = getattr(call.func, "attr", "")
        owner = ast.unparse(call.func.value).lower() if verb in LOGS else ""
        if "log" in owner and _tells(call, function, awaited):
            yield call


def _tells(call: ast.Call, function: ast.AST, awaited: ast.Await) -> bool:
    """Whether a call is given the response's status, or a time that was taken."""
    held: set[str] = set()
    for statement in function.body:
        late = statement.lineno > awaited.lineno and isinstance(statement, ast.Assign)
        if late and _measures(statement.value, held):
            held |= {
                each.id
                for target in statement.targets
                for each in ast.walk(target)
                if isinstance(each, ast.Name)
            }
    given = (*call.args, *(each.value for each in call.keywords))
    return any(_measures(each, held) for each in given)


def _measures(node: ast.expr, held: set[str]) -> bool:
    return any(
        (isinstance(each, ast.Attribute) and each.attr == "status_code")
        or (isinstance(each, ast.BinOp) and isinstance(each.op, ast.Sub))
        or (isinstance(each, ast.Name) and each.id in held)
        for each in ast.walk(node)
    )
