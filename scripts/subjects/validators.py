"""Validators of Pydantic models that put a secret value into their message."""

import ast
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, arguments, class_of, inside

from subjects.settings import SECRET

MARKS = ("pydantic.field_validator", "pydantic.validator", "pydantic.v1.validator")
ERRORS = ("builtins.ValueError", "builtins.AssertionError", "pydantic_core.PydanticCustomError")


def telling(module: Module) -> Iterator[tuple[ast.expr, str]]:
    """The messages that hold a secret field's value, and the field."""
    for function in module.all(*FUNCTIONS):
        name = next(filter(None, (_secret(module, each) for each in function.decorator_list)), None)
        names = [each.arg for each in arguments(function) if each.arg not in ("cls", "self")]
        if name is None or not names or _of_settings(module, function):
            continue
        for each in inside(function, ast.Raise):
            call = each.exc
            made = isinstance(call, ast.Call) and module.name(call.func) in ERRORS
            if made and any(_shows(part, names[0]) for part in call.args):
                yield call, name


def _secret(module: Module, mark: ast.expr) -> str | None:
    """The secret field that a decorator validates, or None."""
    if not isinstance(mark, ast.Call) or module.name(mark.func) not in MARKS:
        return None
    names = [getattr(each, "value", None) for each in mark.args]
    return next((each for each in names if isinstance(each, str) and SECRET.search(each)), None)


def _of_settings(module: Module, function: ast.AST) -> bool:
    """Whether a validator reads the environment at the start, where nobody gets a 422."""
    owner = class_of(function)
    kind = module.project.named(module, owner) if owner is not None else None
    return module.project.is_a(kind, "pydantic_settings.BaseSettings")


def _shows(node: ast.expr, name: str) -> bool:
    """Whether an f-string, or `format`, writes a value as it is."""
    return any(
        isinstance(each, ast.FormattedValue) and getattr(each.value, "id", "") == name
        for each in ast.walk(node)
    )
