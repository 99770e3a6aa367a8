"""redis-py's asyncio clients."""

import ast

from project.module import Module, function_of

CLIENTS = ("redis.asyncio.Redis", "redis.asyncio.StrictRedis", "redis.asyncio.RedisCluster")
MAKERS = ("redis.asyncio.from_url", "redis.asyncio.Redis.from_url")


def is_redis(module: Module, node: ast.expr) -> bool:
    """Whether an expression is a client: by its class, or by the call that its name is bound to."""
    if module.value(node) in CLIENTS:
        return True
    if not isinstance(node, ast.Name) or (function := function_of(node)) is None:
        return False
    bound = module.bindings(function).get(node.id, ())
    value = getattr(getattr(bound[0], "parent", None), "value", None) if len(bound) == 1 else None
    value = value.value if isinstance(value, ast.Await) else value
    return isinstance(value, ast.Call) and module.name(value.func) in MAKERS
