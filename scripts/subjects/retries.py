"""Statements that are tried again, in a loop or by a decorator."""

import ast
import re
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, function_of, inside, parents

from subjects.sessions import ERRORS, caught, is_given, savepoint_between, session_of, text

LOOPS = (*FUNCTIONS, ast.For, ast.While)
ATTEMPT = re.compile(r"attempt|retr|tries|try")


def retried(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Where a statement is repeated in the transaction that it failed in, and the session."""
    for node in module.all(ast.Try):
        loop = next((each for each in parents(node) if isinstance(each, LOOPS)), None)
        if loop is None or not _tries_again(module, loop, node):
            continue
        handlers = [each for each in node.handlers if caught(module, each) & ERRORS]
        session = _statement_in(module, node.body)
        if (
            handlers
            and session
            and not rolls_back([*node.handlers, *node.finalbody], session)
            and not _bound_below(module, loop, session)
        ):
            yield handlers[0], session
    for function in module.all(ast.AsyncFunctionDef):
        for mark in function.decorator_list:
            if isinstance(mark, ast.Call) and module.name(mark.func) == "tenacity.retry":
                kinds = {module.name(each) for each in ast.walk(mark)}
                session = _statement_in(module, function.body) if kinds & ERRORS else ""
                given = session and is_given(module, function.body[0], session)
                if given and not rolls_back(function.body):
                    yield mark, session


def _tries_again(module: Module, loop: ast.AST, node: ast.Try) -> bool:
    """Whether a loop does the same again, and ends when that goes well."""
    if isinstance(loop, ast.For) and ATTEMPT.search(text(loop.target)):
        return True
    counts = isinstance(loop, ast.For) and isinstance(loop.iter, ast.Call)
    counts = counts and module.name(loop.iter.func) == "builtins.range"
    if not counts and not isinstance(loop, ast.While):
        return False
    ends = (*node.body[-1:], *node.orelse[-1:])
    return any(isinstance(each, ast.Return | ast.Break) for each in ends)


def rolls_back(body: list[ast.AST], session: str = "") -> bool:
    """Whether a call in these statements is named for a rollback, or gets the session."""
    return any(
        "rollback" in getattr(call.func, "attr", getattr(call.func, "id", ""))
        or (session and session in map(text, call.args))
        for call in inside(ast.Module(body, []), ast.Call)
    )


def _statement_in(module: Module, body: list[ast.stmt]) -> str:
    for call in inside(ast.Module(body, []), ast.Call):
        session = session_of(module, call)
        if session and not savepoint_between(module, call, None):
            return session
    return ""


def _bound_below(module: Module, loop: ast.AST, session: str) -> bool:
    bound = module.bindings(function_of(loop)).get(session.partition(".")[0], [])
    return any(above is loop for each in bound for above in parents(each))
