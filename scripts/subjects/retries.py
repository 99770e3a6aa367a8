"""Statements that are tried again, in a loop or by a decorator."""

import ast
import re
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, function_of, inside, parents

from subjects.sessions import ERRORS, caught, is_given, session_of, text

ATTEMPT = re.compile(r"attempt|retr|tries|try")


def retried(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Where a statement is repeated in the transaction that it failed in, and the session."""
    for node in module.all(ast.Try):
        loop = next(
            (each for each in parents(node) if isinstance(each, (*FUNCTIONS, ast.For))), None
        )
        if not isinstance(loop, ast.For) or not ATTEMPT.search(text(loop.target)):
            continue
        handlers = [each for each in node.handlers if caught(module, each) & ERRORS]
        session = _statement_in(module, node.body)
        if (
            handlers
            and session
            and not rolls_back([*node.handlers, *node.finalbody])
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


def rolls_back(body: list[ast.AST]) -> bool:
    """Whether a call in these statements is named for a rollback."""
    return any(
        "rollback" in getattr(call.func, "attr", getattr(call.func, "id", ""))
        for call in inside(ast.Module(body, []), ast.Call)
    )


def _statement_in(module: Module, body: list[ast.stmt]) -> str:
    for call in inside(ast.Module(body, []), ast.Call):
        if session := session_of(module, call):
            return session
    return ""


def _bound_below(module: Module, loop: ast.AST, session: str) -> bool:
    bound = module.bindings(function_of(loop)).get(session.partition(".")[0], [])
    return any(above is loop for each in bound for above in parents(each))
