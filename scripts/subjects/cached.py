"""Functions whose results `functools` keeps, and what must not be kept."""

import ast
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, own

from subjects.injected import injections
from subjects.providers import SESSIONS, yields

CACHES = ("functools.lru_cache", "functools.cache")


def cached(module: Module) -> Iterator[tuple[ast.AST, ast.expr]]:
    """The functions of a module with a cache, and the decorator."""
    for function in module.all(*FUNCTIONS):
        for mark in function.decorator_list:
            made = mark.func if isinstance(mark, ast.Call) else mark
            if module.name(made) in CACHES:
                yield function, mark
                break


def outlived(module: Module, function: ast.AST) -> str | None:
    """What a cache keeps of a function that cannot be used twice, or None."""
    provider = module.project.is_provider(function, module)
    if isinstance(function, ast.AsyncFunctionDef) and not yields(function):
        return "caches a coroutine: the second await raises"
    if provider and yields(function):
        return "caches a generator: the second request gets it spent"
    injected = any(
        module.project.annotated(module, arg.annotation) in SESSIONS
        for arg, _ in injections(module, function)
    )
    if injected or (provider and _returns_session(module, function)):
        return "keeps a session for later requests"
    return None


def _returns_session(module: Module, function: ast.AST) -> bool:
    if module.project.annotated(module, function.returns) in SESSIONS:
        return True
    ends = (each for each in own(function) if isinstance(each, ast.Return))
    return any(module.value(each.value) in SESSIONS for each in ends)
