"""Exception handlers of applications: which class they are registered for, and what they answer."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from project.module import FUNCTIONS, Module, arguments, inside, keyword, parents

from subjects.middlewares import is_response

VALIDATION = (
    "fastapi.exceptions.RequestValidationError",
    "fastapi.RequestValidationError",
    "pydantic.ValidationError",
    "pydantic_core.ValidationError",
)


@dataclass(frozen=True)
class Registration:
    """A class of exceptions, where it is registered, and the handler if this module defines it."""

    node: ast.AST
    kind: ast.expr
    handler: ast.AST | None


def registrations(module: Module) -> Iterator[Registration]:
    """The handlers that a module registers: by decorator, by call, or in `exception_handlers=`."""
    for call in module.all(ast.Call):
        verb = getattr(call.func, "attr", "")
        kind = call.args[0] if call.args else keyword(call, "exc_class_or_status_code")
        if verb == "exception_handler" and kind and call.slot == "decorator_list":
            yield Registration(call, kind, call.parent)
        elif verb == "exception_handler" and kind and call.slot == "func" and call.parent.args:
            yield Registration(call, kind, _own(module, call.parent.args[0]))
        elif verb == "add_exception_handler" and kind:
            handler = call.args[1] if len(call.args) > 1 else keyword(call, "handler")
            yield Registration(call, kind, _own(module, handler))
        table = keyword(call, "exception_handlers")
        if isinstance(table, ast.Dict):
            for key, value in zip(table.keys, table.values, strict=True):
                if key is not None:
                    yield Registration(key, key, _own(module, value))


def parameter(handler: ast.AST) -> str | None:
    """The name of the exception in a handler."""
    names = [each.arg for each in arguments(handler) if each.arg != "self"]
    return names[1] if len(names) > 1 else None


def returned(module: Module, handler: ast.AST) -> Iterator[ast.Call]:
    """The Responses that a handler returns, written in its `return`."""
    for each in inside(handler, ast.Return):
        if is_response(module, each.value):
            yield each.value


def repeated(module: Module, handler: ast.AST, error: str) -> Iterator[ast.AST]:
    """The places where the whole of an error, its `errors()` or `body` goes into a Response."""
    texts = inside(handler, ast.Call, ast.JoinedStr) if _is_typed(module, handler, error) else ()
    whole = {each: each for each in texts if _text(each, error)}
    for each in inside(handler, ast.Attribute):
        if getattr(each.value, "id", "") != error or _is_narrowed(module, each, error):
            continue
        called = isinstance(each.parent, ast.Call) and each.slot == "func"
        if each.attr == "errors" and called and not each.parent.keywords:
            whole[each.parent] = each.parent
        elif each.attr == "body" and not called:
            whole[each] = each
    for each in whole:
        name = _assigned(each)
        uses = _loads(handler, name) if name else [each]
        if any(_sent(module, handler, use) for use in uses) and not any(map(_picked, uses)):
            yield each


def _is_narrowed(module: Module, node: ast.AST, error: str) -> bool:
    """Whether it is asked before that the error is of a class of the project's own."""
    below = node
    for above in parents(node):
        test = above.test if isinstance(above, ast.If) and below.slot == "body" else None
        if isinstance(test, ast.Call) and module.name(test.func) == "builtins.isinstance":
            asked, kind = (*test.args, None, None)[:2]
            if getattr(asked, "id", "") == error and module.name(kind) not in VALIDATION:
                return module.project.definition(module.name(kind)) is not None
        below = above
    return False


def _is_typed(module: Module, handler: ast.AST, error: str) -> bool:
    """Whether a handler declares that its error is one of validation, and no other."""
    hint = next(each.annotation for each in arguments(handler) if each.arg == error)
    return module.project.annotated(module, hint) in VALIDATION


def _text(node: ast.AST, error: str) -> bool:
    """Whether it is `str(error)`, or an f-string that holds the error."""
    if isinstance(node, ast.JoinedStr):
        return any(getattr(getattr(each, "value", None), "id", "") == error for each in node.values)
    asked = getattr(node.func, "id", "") in ("str", "repr")
    return asked and [getattr(each, "id", "") for each in node.args] == [error]


def _own(module: Module, node: ast.expr | None) -> ast.AST | None:
    found = module.project.definition(module.name(node))
    if found and found[0] is module and isinstance(found[1], FUNCTIONS):
        return found[1]
    return None


def _assigned(node: ast.AST) -> str | None:
    holder = node.parent
    if isinstance(holder, ast.Assign) and len(holder.targets) == 1:
        return getattr(holder.targets[0], "id", None)
    return None


def _loads(handler: ast.AST, name: str) -> list[ast.AST]:
    return [
        each
        for each in inside(handler, ast.Name)
        if each.id == name and isinstance(each.ctx, ast.Load)
    ]


def _sent(module: Module, handler: ast.AST, node: ast.AST, again: bool = True) -> bool:
    """Whether an expression goes as it is, in dicts or encoded, into a Response."""
    while isinstance(node, ast.expr | ast.keyword):
        above = node.parent
        if isinstance(above, ast.Call) and node.slot != "func":
            if is_response(module, above):
                return True
            encoder = (module.name(above.func) or "").endswith(("jsonable_encoder", ".dumps"))
            if not encoder or keyword(above, "exclude") or keyword(above, "custom_encoder"):
                return False
        elif isinstance(above, ast.Assign) and again:
            uses = _loads(handler, _assigned(node) or "")
            return any(_sent(module, handler, use, False) for use in uses)
        elif not isinstance(above, ast.Dict | ast.keyword | ast.List):
            return False
        node = above
    return False


def _picked(node: ast.AST) -> bool:
    return isinstance(node.parent, ast.For | ast.comprehension) and node.slot == "iter"
