"""redis-py's asyncio clients."""

import ast
from collections.abc import Iterator

from project.module import Module, class_of, function_of

CLIENTS = ("redis.asyncio.Redis", "redis.asyncio.StrictRedis", "redis.asyncio.RedisCluster")
MAKERS = ("redis.asyncio.from_url", "redis.asyncio.Redis.from_url")


def is_redis(module: Module, node: ast.expr) -> bool:
    """Whether an expression is a client: by its class, or by the call that its name is bound to."""
    if module.value(node) in CLIENTS:
        return True
    values = list(_values(module, node))
    return len(values) == 1 and _made(module, values[0])


def _values(module: Module, node: ast.expr) -> Iterator[ast.expr]:
    """What a name of a function, or an attribute of `self`, is bound to; None is left out."""
    if isinstance(node, ast.Name):
        function = function_of(node)
        bound = module.bindings(function).get(node.id, ()) if function else ()
        holders = [each.parent for each in bound]
    elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "self":
        owner = class_of(node)
        holders = [
            each.parent
            for each in (ast.walk(owner) if owner is not None else ())
            if isinstance(each, ast.Attribute)
            and each.attr == node.attr
            and isinstance(each.ctx, ast.Store)
        ]
    else:
        return
    for holder in holders:
        value = getattr(holder, "value", None)
        if not (isinstance(value, ast.Constant) and value.value is None):
            yield value


def _made(module: Module, value: ast.expr | None) -> bool:
    value = value.value if isinstance(value, ast.Await) else value
    return isinstance(value, ast.Call) and module.name(value.func) in MAKERS
