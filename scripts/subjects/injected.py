"""What FastAPI injects into the functions of a module, and in which scope."""

import ast
from collections.abc import Iterator

from project.annotations import Injection
from project.module import FUNCTIONS, Module, arguments, default, statement_of

from subjects.endpoints import endpoints
from subjects.providers import yields

FUTURE = "annotations"
SCHEMES = {
    f"fastapi.security.{kind}"
    for kind in ("OAuth2PasswordBearer", "HTTPBearer", "HTTPBasic", "OAuth2AuthorizationCodeBearer")
}


def injections(module: Module, function: ast.AST) -> Iterator[tuple[ast.arg, Injection]]:
    """The parameters of a function that FastAPI fills from a provider."""
    for arg in arguments(function):
        found = module.project.injection(module, function, arg)
        if found:
            yield arg, found


def aliases(module: Module, provider: str) -> Iterator[ast.Call]:
    """The `Depends` of a provider in the aliases at the top of a module, without a scope."""
    for call in module.calls("fastapi.Depends", "fastapi.Security"):
        found = module.project.depends(module, call)
        mine = found and found.provider == provider and found.scope in (None, "request")
        statement = statement_of(call)
        named = (
            isinstance(statement, ast.Assign | ast.AnnAssign)
            or "TypeAlias" in type(statement).__name__
        )
        if mine and named and isinstance(statement.parent, ast.Module):
            yield call


def injectable(module: Module, name: str) -> str:
    """A provider as `Depends` gets it: a method by the object that its module makes of the class.

    What is called by `__call__` is the object itself.
    """
    owner, _, method = name.rpartition(".")
    if ":" not in owner:
        return name.partition(":")[2]
    bound = (each for nodes in module.bindings(module.tree).values() for each in nodes)
    names = (each for each in bound if isinstance(each, ast.Name))
    held = next((each.id for each in names if module.value(each) == owner), None)
    shown = held or f"{owner.partition(':')[2]}(...)"
    return shown if method == "__call__" else f"{shown}.{method}"


def scoped(call: ast.Call) -> str:
    """A `Depends` call with the scope of the function."""
    words = [each for each in call.keywords if each.arg != "scope"]
    parts = [*map(ast.unparse, call.args), *map(ast.unparse, words), 'scope="function"']
    return f"{ast.unparse(call.func)}({', '.join(parts)})"


def generator(module: Module, injection: Injection) -> ast.AST | None:
    """The function behind an injection when it has a `yield`."""
    found = module.project.definition(injection.provider)
    if found and isinstance(found[1], FUNCTIONS) and yields(found[1]):
        return found[1]
    return None


def scopes_of(
    module: Module, function: ast.AST, depth: int = 0
) -> Iterator[tuple[str, str | None, ast.arg, Injection]]:
    """Each generator that one call of a function needs, its scope, and the parameter for it."""
    for arg, injection in injections(module, function):
        found = module.project.definition(injection.provider)
        if not found or not isinstance(found[1], FUNCTIONS):
            continue
        if yields(found[1]):
            scope = None if injection.scope == "request" else injection.scope
            yield injection.provider, scope, arg, injection
        if depth < 3:
            for name, scope, _, _ in scopes_of(*found, depth + 1):
                yield name, scope, arg, injection


def only_typed(module: Module) -> set[str]:
    """The names that a module imports under `if TYPE_CHECKING:` alone, when hints are postponed."""
    bound = module.bindings(module.tree)
    future = any(
        isinstance(alias.parent, ast.ImportFrom) and alias.parent.module == "__future__"
        for alias in bound.get(FUTURE, ())
        if isinstance(alias, ast.alias)
    )
    if not future:
        return set()
    return {
        name
        for name, nodes in bound.items()
        if nodes and all(isinstance(each, ast.alias) and _typing(module, each) for each in nodes)
    }


def unresolvable(module: Module) -> Iterator[tuple[ast.arg, str]]:
    """The parameters of endpoints and providers whose annotations FastAPI cannot read."""
    names = only_typed(module)
    if not names:
        return
    called = {each.function for each in endpoints(module)}
    for function in module.all(*FUNCTIONS):
        if function not in called and not module.project.is_provider(function, module):
            continue
        for arg in arguments(function):
            if module.project.depends(module, default(function, arg)):
                continue  # FastAPI needs no annotation beside `= Depends(...)`
            hint = arg.annotation or ast.Constant(None)
            used = {each.id for each in ast.walk(hint) if isinstance(each, ast.Name)}
            yield from ((arg, name) for name in sorted(used & names))


def headers_of(module: Module, function: ast.AST, depth: int = 0) -> Iterator[tuple[ast.arg, str]]:
    """The parameters that need, directly or below, a scheme that reads `Authorization`."""
    for arg, injection in injections(module, function):
        given = injection.call.args[0] if injection.call.args else None
        scheme = injection.module.value(given) if given is not None else None
        if scheme in SCHEMES:
            yield arg, scheme.rpartition(".")[2]
            continue
        found = module.project.definition(injection.provider)
        if found and isinstance(found[1], FUNCTIONS) and depth < 4:
            for _, below in headers_of(*found, depth + 1):
                yield arg, below
                break


def _typing(module: Module, alias: ast.alias) -> bool:
    statement = alias.parent
    above = statement.parent
    return (
        isinstance(above, ast.If)
        and statement.slot == "body"
        and module.name(above.test) in ("typing.TYPE_CHECKING", "typing_extensions.TYPE_CHECKING")
    )
