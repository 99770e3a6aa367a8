"""One module: its tree, an index of its nodes, and what each name in it is bound to."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from project.values import Values

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPES = (*FUNCTIONS, ast.Lambda, ast.ClassDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_IDLE = {"ctx", "op", "ops", "kind", "type_comment"}
_FIELDS = {
    kind: tuple(name for name in kind._fields if name not in _IDLE)
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}

_OWN = {
    kind: tuple(name for name in names if not (issubclass(kind, SCOPES) and name == "body"))
    for kind, names in _FIELDS.items()
}
_BINDERS = {
    *(ast.Name, ast.alias, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    *(ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.Global),
}


class Module:
    """A parsed file. Each node of its tree has a `parent`, and the `slot` (field) it stands in."""

    def __init__(self, project: "Values", path: str, source: bytes, tree: ast.Module) -> None:
        self.project = project
        self.path = path
        self.source = source
        self.tree = tree
        self._held: dict[bytes, bool] = {}
        self._scopes: dict[ast.AST, dict[str, list[ast.AST]]] = {}

    @cached_property
    def nodes(self) -> dict[type[ast.AST], list[ast.AST]]:
        """The nodes of the tree by their class, in the order of the source."""
        found: dict[type[ast.AST], list[ast.AST]] = defaultdict(list)
        stack: list[ast.AST] = [self.tree]
        while stack:
            node = stack.pop()
            found[node.__class__].append(node)
            fields = node.__dict__
            for name in _FIELDS[node.__class__]:
                value = fields.get(name)
                for child in value if value.__class__ is list else (value,):
                    if isinstance(child, ast.AST):
                        child.parent, child.slot = node, name
                        stack.append(child)
        for nodes in found.values():
            nodes.sort(key=_place)
        return found

    def all(self, *kinds: type[ast.AST]) -> list[ast.AST]:
        """The nodes of these classes, class by class, in the order of the source."""
        return [node for kind in kinds for node in self.nodes.get(kind, ())]

    def holds(self, word: bytes) -> bool:
        """Whether the source holds a word; each is searched for once."""
        if word not in self._held:
            self._held[word] = word in self.source
        return self._held[word]

    def name(self, node: ast.AST | None) -> str | None:
        """What a name or `a.b.c` stands for: see project.names."""
        return self.project.name(self, node)

    def value(self, node: ast.AST | None) -> str | None:
        """The class of an expression's value: see project.values."""
        return self.project.value(self, node)

    @cached_property
    def _calls(self) -> dict[str, list[ast.Call]]:
        found: dict[str, list[ast.Call]] = defaultdict(list)
        for call in self.nodes.get(ast.Call, ()):
            name = self.name(call.func)
            if name is not None:
                found[name].append(call)
        return found

    def calls(self, *names: str) -> list[ast.Call]:
        """The calls of functions or classes of these names."""
        return [call for name in names for call in self._calls.get(name, ())]

    def methods(self, kind: str, *names: str) -> list[ast.Call]:
        """The calls of methods of these names on values of a class."""
        return [
            call
            for call in self.nodes.get(ast.Call, ())
            if isinstance(call.func, ast.Attribute)
            and call.func.attr in names
            and self.value(call.func.value) == kind
        ]

    @cached_property
    def is_test(self) -> bool:
        """Whether the path names it as a test."""
        path = PurePosixPath(self.path)
        top = self.project.top
        parts = path.relative_to(top).parts if path.is_absolute() else path.parts
        named = path.name.startswith("test_") or path.stem.endswith("_test")
        folders = {"test", "tests", "testing"}
        named = named or path.stem in folders
        return named or path.name == "conftest.py" or bool(folders.intersection(parts[:-1]))

    @cached_property
    def injectors(self) -> set[str]:
        """How the module may call FastAPI's `Depends` and `Security`."""
        names = {"Depends", "Security"}
        return names | {each.asname for each in self.all(ast.alias) if each.name in names} - {None}

    @cached_property
    def is_revision(self) -> bool:
        """Whether it is an Alembic revision."""
        bound = self.bindings(self.tree)
        return "down_revision" in bound and ("upgrade" in bound or "downgrade" in bound)

    def bindings(self, scope: ast.AST) -> dict[str, list[ast.AST]]:
        """Each name bound in a scope (module, class or function) and the nodes that bind it.

        A node is an arg, an alias of an import, a definition, a handler, or the Name assigned to.
        """
        if scope not in self._scopes:
            self.nodes  # noqa: B018 - sets the parents
            found: dict[str, list[ast.AST]] = defaultdict(list)
            if isinstance(scope, (*FUNCTIONS, ast.Lambda)):
                for arg in arguments(scope):
                    found[arg.arg].append(arg)
            for node in own(scope):
                if node.__class__ in _BINDERS:
                    for name in _bound(node):
                        found[name].append(node)
            self._scopes[scope] = dict(found)
        return self._scopes[scope]


def _place(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


def _bound(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Load) and not _of_comprehension(node):
            yield node.id
    elif isinstance(node, ast.alias):
        yield node.asname or node.name.partition(".")[0]
    elif isinstance(node, (*FUNCTIONS, ast.ClassDef)) or (
        isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name
    ):
        yield node.name
    elif isinstance(node, ast.Global):
        yield from node.names


def _of_comprehension(node: ast.AST) -> bool:
    while isinstance(node.parent, ast.Tuple | ast.List | ast.Starred):
        node = node.parent
    return isinstance(node.parent, ast.comprehension) and node.slot == "target"


def arguments(function: ast.AST) -> list[ast.arg]:
    """All parameters of a function, in order."""
    args = function.args
    named = [*args.posonlyargs, *args.args, args.vararg, *args.kwonlyargs, args.kwarg]
    return [arg for arg in named if arg is not None]


def default(function: ast.AST, arg: ast.arg) -> ast.expr | None:
    """The default of a parameter, or None."""
    args = function.args
    placed = [*args.posonlyargs, *args.args]
    pairs = dict(
        zip([each.arg for each in reversed(placed)], reversed(args.defaults), strict=False)
    )
    pairs |= dict(zip([each.arg for each in args.kwonlyargs], args.kw_defaults, strict=True))
    return pairs.get(arg.arg)


def own(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope's body in the order of the source, without what nested scopes hold.

    A nested function or class is yielded itself, and its decorators and defaults are walked.
    """
    yield from _below(scope.body[::-1] if isinstance(scope.body, list) else [scope.body])


def _below(stack: list[ast.AST]) -> Iterator[ast.AST]:
    """The nodes of a stack, the last first, each followed by what stands below it."""
    while stack:
        node = stack.pop()
        yield node
        inner: list[ast.AST] = []
        fields = node.__dict__
        for name in _OWN[node.__class__]:
            value = fields.get(name)
            if value.__class__ is list:
                inner += [each for each in value if isinstance(each, ast.AST)]
            elif isinstance(value, ast.AST):
                inner.append(value)
        inner.reverse()
        stack += inner


def inside(node: ast.AST, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
    """The nodes below a node (itself left out), in order, without what nested scopes hold."""
    for name in _FIELDS[node.__class__]:
        if isinstance(node, SCOPES) and name != "body":
            continue
        value = node.__dict__.get(name)
        for child in value if value.__class__ is list else (value,):
            if isinstance(child, ast.AST):
                for each in _below([child]):
                    if not kinds or isinstance(each, kinds):
                        yield each


def parents(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes around a node, the nearest first."""
    while (node := getattr(node, "parent", None)) is not None:
        yield node


def function_of(node: ast.AST) -> ast.AST | None:
    """The function, coroutine function or lambda whose body a node stands in, or None."""
    below = node
    for above in parents(node):
        if isinstance(above, (*FUNCTIONS, ast.Lambda)) and below.slot == "body":
            return above
        below = above
    return None


def class_of(node: ast.AST) -> ast.ClassDef | None:
    """The class whose body a definition stands in directly, or the class of a method's node."""
    for above in parents(node):
        if isinstance(above, ast.ClassDef):
            return above
    return None


def statement_of(node: ast.AST) -> ast.stmt:
    """The statement that a node is a part of, or the node itself."""
    while not isinstance(node, ast.stmt):
        node = node.parent
    return node


def in_coroutine(node: ast.AST) -> bool:
    """Whether a node is in the body of an `async def` itself, not of a function within."""
    return isinstance(function_of(node), ast.AsyncFunctionDef)


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """The value a call passes under a keyword, or None."""
    return next((each.value for each in call.keywords if each.arg == name), None)


def spreads(call: ast.Call) -> bool:
    """Whether a call passes `**options`, so that keywords cannot be known."""
    return any(each.arg is None for each in call.keywords)
