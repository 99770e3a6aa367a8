"""In which order middlewares stand around an application, the innermost first."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from project.module import FUNCTIONS, Module, function_of

from subjects.middlewares import additions, answers, decorated, decorators

# Middlewares of libraries that answer requests themselves, with a status a browser should read.
ANSWERING = {
    "starlette.middleware.authentication.AuthenticationMiddleware",
    "slowapi.middleware.SlowAPIMiddleware",
    "slowapi.middleware.SlowAPIASGIMiddleware",
}


@dataclass(frozen=True)
class Layer:
    """A middleware and the call that adds it; `advice` is how to put it further out."""

    call: ast.AST
    middleware: ast.expr
    app: str

    @property
    def name(self) -> str:
        return getattr(self.middleware, "name", "") or ast.unparse(self.middleware)

    @property
    def advice(self) -> str:
        if self.app:
            return f"add it after that one, or serve CORSMiddleware({self.app}, ...)"
        return "put it before that one in the list"


def ordered(module: Module) -> Iterator[list[Layer]]:
    """The layers of each application of a module, or of each list, the innermost first."""
    groups: dict[tuple[ast.AST | None, str], list[Layer]] = defaultdict(list)
    lists: dict[ast.AST, list[Layer]] = defaultdict(list)
    for each in additions(module):
        if getattr(each.call.func, "attr", "") == "add_middleware":
            app = ast.unparse(each.call.func.value)
            groups[function_of(each.call), app].append(Layer(each.call, each.middleware, app))
        elif isinstance(each.call.parent, ast.List):
            lists[each.call.parent].append(Layer(each.call, each.middleware, ""))
    for call in decorators(module):
        function = decorated(module, call)
        if function is not None:
            app = ast.unparse(call.func.value)
            groups[function_of(call.parent), app].append(Layer(call, function, app))
    for group in groups.values():
        yield sorted(group, key=lambda layer: layer.call.lineno)
    for group in lists.values():
        yield group[::-1]


def answering(module: Module, layer: Layer) -> bool:
    """Whether a middleware answers requests itself, as far as its code or its name tells."""
    if isinstance(layer.middleware, FUNCTIONS):
        return answers(module, layer.middleware)
    name = module.name(layer.middleware)
    if "cors" in layer.name.lower():  # sends the headers itself
        return False
    if name in ANSWERING:
        return True
    found = module.project.definition(name)
    if found:
        return answers(found[0], found[1])
    return name is None and "auth" in ast.unparse(layer.middleware).lower()
