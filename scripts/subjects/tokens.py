"""How PyJWT's tokens are read: which claims are asked for, which errors are caught."""

import ast
from collections.abc import Iterator

from project.module import Module, function_of, keyword, parents, spreads

from subjects.middlewares import EXCEPTIONS

DECODES = ("jwt.decode", "jwt.api_jwt.decode")
EXPIRED = {"InvalidTokenError", "PyJWTError", "ExpiredSignatureError", "ExpiredSignature"}


def decodes(module: Module) -> Iterator[ast.Call]:
    """The calls of PyJWT's `decode` that check a signature and an end."""
    for call in module.calls(*DECODES):
        options = _options(call)
        if options is not None and not (set(options) & {"verify_signature", "verify_exp"}):
            yield call


def requires(call: ast.Call) -> bool:
    """Whether a call asks for the claim `exp`."""
    asked = (_options(call) or {}).get("require")
    if asked is None:
        return False
    parts = asked.elts if isinstance(asked, ast.List | ast.Tuple | ast.Set) else []
    return not parts or any(getattr(each, "value", "") == "exp" for each in parts)


def requiring(call: ast.Call) -> str:
    """A call that also asks for the claim `exp`, as it is written."""
    given = _options(call) or {}
    written = [f"{name!r}: {ast.unparse(value)}" for name, value in given.items()]
    options = ", ".join([*written, '"require": ["exp"]'])
    placed = [ast.unparse(each) for each in call.args[:3]]
    named = [
        f"{each.arg}={ast.unparse(each.value)}" for each in call.keywords if each.arg != "options"
    ]
    parts = [*placed, *named, f"options={{{options}}}"]
    return f"{ast.unparse(call.func)}({', '.join(parts)})"


def deaf(module: Module, call: ast.Call) -> ast.ExceptHandler | None:
    """The last handler around a call when some catch PyJWT's errors and none an expired token."""
    function, below = function_of(call), call
    last = None
    for above in parents(call):
        if above is function:
            break
        if isinstance(above, ast.Try) and below.slot == "body":
            names = [name for each in above.handlers for name in _caught(module, each.type)]
            if any(_hears(name) for name in names):
                return None
            if last is None and any((name or "").startswith("jwt.") for name in names):
                last = above.handlers[-1]
        below = above
    return last


def refusing(module: Module, handler: ast.ExceptHandler) -> bool:
    """Whether a handler answers a request: it raises an HTTPException."""
    return any(
        isinstance(each, ast.Raise) and module.project.is_a(_raised(module, each), *EXCEPTIONS)
        for each in ast.walk(handler)
    )


def _raised(module: Module, node: ast.Raise) -> str | None:
    return module.name(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)


def _options(call: ast.Call) -> dict[object, ast.expr] | None:
    """The options of a call that are written in it; None when they cannot be known."""
    given = keyword(call, "options") or (call.args[3] if len(call.args) > 3 else None)
    if given is None:
        return None if spreads(call) else {}
    if not isinstance(given, ast.Dict) or None in given.keys:
        return None
    return {
        getattr(key, "value", None): value
        for key, value in zip(given.keys, given.values, strict=True)
    }


def _caught(module: Module, node: ast.expr | None) -> list[str | None]:
    if node is None:
        return ["builtins.BaseException"]
    return [module.name(each) for each in (node.elts if isinstance(node, ast.Tuple) else [node])]


def _hears(name: str | None) -> bool:
    """Whether a handler for a class takes an expired token, or cannot be judged."""
    if name is None or ":" in name or name in ("builtins.Exception", "builtins.BaseException"):
        return True
    return name.startswith("jwt.") and name.rpartition(".")[2] in EXPIRED
