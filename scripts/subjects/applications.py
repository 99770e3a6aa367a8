"""FastAPI applications: the call that makes one, wherever it is used."""

import ast

from project.module import FUNCTIONS, Module, function_of, keyword

FASTAPI = "fastapi.FastAPI"
DEEP = 6  # names and factories followed in a row


def application(
    module: Module, node: ast.AST | None, depth: int = 0
) -> tuple[Module, ast.Call] | None:
    """The call of FastAPI that made the object an expression stands for, and its module."""
    if depth > DEEP:
        return None
    if isinstance(node, ast.Call):
        if module.project.is_a(module.name(node.func), FASTAPI):
            return module, node
        return _factory(module, node, depth)
    if isinstance(node, ast.Name):
        function = function_of(node)
        while function is not None:
            bound = module.bindings(function).get(node.id)
            if bound:
                return _bound(module, bound, depth)
            function = function_of(function)
    name = module.name(node) if node is not None else None
    file, colon, identifier = (name or "").partition(":")
    home = module.project.module(file) if colon and file in module.project.files else None
    return _bound(home, home.bindings(home.tree).get(identifier, ()), depth) if home else None


def given(call: ast.Call, word: str) -> ast.expr | None:
    """What an application is given under a keyword, if that is certain and not None."""
    value = keyword(call, word)
    sure = isinstance(value, ast.Name | ast.Attribute | ast.Call | ast.List)
    return value if sure else None


def lifespan_of(module: Module, call: ast.Call) -> ast.expr | None:
    """The lifespan an application is given: a function or manager, not a parameter's value."""
    value = given(call, "lifespan")
    function = function_of(call)
    if isinstance(value, ast.Name) and function is not None:
        bound = module.bindings(function).get(value.id, ())
        if any(isinstance(each, ast.arg) for each in bound):
            return None
    return value


def names_a_lifespan(module: Module) -> bool:
    """Whether some name in a module's code, not in its comments, speaks of a lifespan."""
    kinds = (ast.Name, ast.Attribute, ast.alias, *FUNCTIONS)
    names = (
        getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "name", "")
        for node in module.all(*kinds)
    )
    return any("lifespan" in name.lower() for name in names)


def unentered(module: Module, node: ast.expr) -> str | None:
    """The lifespan of an application that no other lifespan enters, as far as two modules show."""
    found = application(module, node)
    lifespan = lifespan_of(*found) if found else None
    if found is None or not isinstance(lifespan, ast.Name):
        return None
    homes = {found[0], module}
    names = [each.id for home in homes for each in home.all(ast.Name)]
    attributes = {each.attr for home in homes for each in home.all(ast.Attribute)}
    alone = names.count(lifespan.id) == 1 and "lifespan_context" not in attributes
    return lifespan.id if alone else None


def _bound(
    module: Module, bound: list[ast.AST] | tuple[()], depth: int
) -> tuple[Module, ast.Call] | None:
    holder = getattr(bound[0], "parent", None) if len(bound) == 1 else None
    if not isinstance(holder, ast.Assign | ast.AnnAssign) or bound[0].slot == "value":
        return None
    return application(module, holder.value, depth + 1)


def _factory(module: Module, call: ast.Call, depth: int) -> tuple[Module, ast.Call] | None:
    """The application that a function of the project makes and returns."""
    found = module.project.definition(module.name(call.func))
    if not found or not isinstance(found[1], FUNCTIONS):
        return None
    returned = [node for node in ast.walk(found[1]) if isinstance(node, ast.Return)]
    own = [node for node in returned if function_of(node) is found[1]]
    return application(found[0], own[0].value, depth + 1) if len(own) == 1 else None
