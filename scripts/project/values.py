"""Of which class a value is, as far as annotations and assignments tell."""

import ast
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from project.annotations import DEEP, FACTORY, SESSION, Annotations, Injection, is_none
from project.module import FUNCTIONS, Module, arguments, class_of, function_of, inside

ENGINE = "sqlalchemy.ext.asyncio.AsyncEngine"
TASK = "asyncio.Task"
# What is not called by the name of its class, and what it makes.
MAKES = {
    FACTORY: FACTORY,
    "sqlalchemy.ext.asyncio.create_async_engine": ENGINE,
    "sqlalchemy.ext.asyncio.async_engine_from_config": ENGINE,
    "asyncpg.create_pool": "asyncpg.Pool",
    "asyncpg.connect": "asyncpg.Connection",
    "asyncio.create_task": TASK,
    "asyncio.ensure_future": TASK,
    "asyncio.create_subprocess_exec": "asyncio.subprocess.Process",
    "asyncio.create_subprocess_shell": "asyncio.subprocess.Process",
    "sqlalchemy.ext.asyncio.async_scoped_session": FACTORY,
}
# What a method of a known class returns, and what `async with` on it gives.
METHODS = {
    (FACTORY, "begin"): SESSION,
    (ENGINE, "connect"): "sqlalchemy.ext.asyncio.AsyncConnection",
    (ENGINE, "begin"): "sqlalchemy.ext.asyncio.AsyncConnection",
    ("asyncpg.Pool", "acquire"): "asyncpg.Connection",
    ("asyncio.TaskGroup", "create_task"): TASK,
    (SESSION, "connection"): "sqlalchemy.ext.asyncio.AsyncConnection",
}


class Values(Annotations):
    """Names, annotations, and the classes of values."""

    def __init__(self, files: dict[str, Path]) -> None:
        super().__init__(files)
        # What was asked before. None while it is looked for: `query = query.where(...)` asks for
        # itself, and a row of such lines would ask exponentially often.
        self._known: dict[tuple[object, str], str | None] = {}

    def provider(self, module: Module, node: ast.expr | None) -> str | None:
        """The name of what `Depends` is given; methods and objects go by their definition."""
        name = super().provider(module, node)
        if node is None or self.definition(name):
            return name
        if isinstance(node, ast.Attribute):
            owner, called = self.value(module, node.value), node.attr
        else:
            owner, called = self.value(module, node), "__call__"
        method = self.method(owner, called) if owner else None
        return self.named(*method) if method else name

    def value(self, module: Module, node: ast.AST | None, depth: int = 0) -> str | None:
        """The class of an expression's value, or None when it cannot be told."""
        if node is None or depth > DEEP:
            return None
        if isinstance(node, ast.Await | ast.NamedExpr | ast.Starred):
            return self.value(module, node.value, depth + 1)
        if isinstance(node, ast.Call):
            return self._called(module, node, depth)
        if isinstance(node, ast.Name):
            return self._held(module, node, depth)
        if isinstance(node, ast.Attribute):
            owner = self.value(module, node.value, depth + 1)
            held = self.attribute(owner, node.attr, depth + 1) if owner else None
            return held or self._global(self.name(module, node), depth)
        if isinstance(node, ast.IfExp):
            one, other = (self.value(module, each, depth + 1) for each in (node.body, node.orelse))
            return one if one == other or is_none(node.orelse) else None
        return None

    def entered(self, module: Module, node: ast.expr, depth: int = 0) -> str | None:
        """The class of `x` in `async with node as x`."""
        if isinstance(node, ast.Call):
            owner = self._owner(module, node, depth)
            if (owner, getattr(node.func, "attr", "")) == (SESSION, "begin"):
                return None
            found = self._function(module, node, owner, depth)
            if found:
                return self.yielded(*found)
        return self.value(module, node, depth + 1)

    def yielded(self, module: Module, function: ast.AST) -> str | None:
        """What a generator function, or a provider, hands out: by its return annotation."""
        if function.returns is None:
            return self._once((function, "yield"), lambda: self._yields(module, function))
        return self.handed(module, function.returns)

    def _yields(self, module: Module, function: ast.AST) -> str | None:
        kinds = {self.value(module, each.value) for each in inside(function, ast.Yield)}
        return kinds.pop() if len(kinds) == 1 else None

    def attribute(self, owner: str, name: str, depth: int = 0) -> str | None:
        """The class of `object.name` for an object of a class that the project defines."""
        return self._once((owner, name), lambda: self._attribute_of(owner, name, depth))

    def _once(self, key: tuple[object, str], find: Callable[[], str | None]) -> str | None:
        if key not in self._known:
            self._known[key] = None
            self._known[key] = find()
        return self._known[key]

    def _attribute_of(self, owner: str, name: str, depth: int) -> str | None:
        found = self.definition(owner)
        if not found or not isinstance(found[1], ast.ClassDef) or depth > DEEP:
            return None
        module, definition = found
        kinds = {each for each in self._fields(module, definition, name, depth) if each}
        if not kinds:
            for base in definition.bases:
                inherited = self.name(module, base)
                if inherited and (kind := self.attribute(inherited, name, depth + 1)):
                    return kind
        return kinds.pop() if len(kinds) == 1 else None

    def _fields(
        self, module: Module, definition: ast.ClassDef, name: str, depth: int
    ) -> Iterator[str | None]:
        for each in definition.body:
            if isinstance(each, ast.AnnAssign) and getattr(each.target, "id", "") == name:
                yield self.annotated(module, each.annotation)
            elif isinstance(each, ast.Assign) and getattr(each.targets[0], "id", "") == name:
                yield self._injected(self.depends(module, each.value))
            elif isinstance(each, FUNCTIONS) and each.name == name:
                marks = {self.name(module, mark) for mark in each.decorator_list}
                if marks & {"builtins.property", "functools.cached_property"}:
                    yield self.annotated(module, each.returns)
        for node in module.all(ast.Assign, ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target, value in paired(targets, node.value):
                mine = isinstance(target, ast.Attribute) and target.attr == name
                if (
                    mine
                    and getattr(target.value, "id", "") == "self"
                    and class_of(node) is definition
                ):
                    declared = self.annotated(module, getattr(node, "annotation", None))
                    yield declared or self.value(module, value, depth + 1)

    def _owner(self, module: Module, call: ast.Call, depth: int) -> str | None:
        if not isinstance(call.func, ast.Attribute):
            return None
        return self.value(module, call.func.value, depth + 1)

    def _called(self, module: Module, call: ast.Call, depth: int) -> str | None:
        typed = isinstance(call.func, ast.Subscript)  # async_sessionmaker[AsyncSession](...)
        name = self.name(module, call.func.value if typed else call.func)
        if name == "sqlalchemy.orm.sessionmaker":
            made = next((each.value for each in call.keywords if each.arg == "class_"), None)
            return FACTORY if self.name(module, made) == SESSION else name
        if name in MAKES:
            return MAKES[name]
        found = self.definition(name)
        if found:
            if isinstance(found[1], ast.ClassDef):
                return SESSION if self.is_a(name, SESSION) else name
            return self.annotated(found[0], found[1].returns)
        if name and ":" not in name and name.rpartition(".")[2][:1].isupper():
            return name
        if self.value(module, call.func, depth + 1) == FACTORY:
            return SESSION
        owner = self._owner(module, call, depth)
        method = METHODS.get((owner or "", getattr(call.func, "attr", "")))
        if method:
            return method
        found = self._function(module, call, owner, depth)
        return self.annotated(found[0], found[1].returns) if found else None

    def _function(
        self, module: Module, call: ast.Call, owner: str | None, depth: int
    ) -> tuple[Module, ast.AST] | None:
        """The function of the project that a call runs: by name, as a method, as `__call__`."""
        found = self.definition(self.name(module, call.func))
        if found is None and owner is not None:
            found = self.method(owner, call.func.attr)
        if found is None:
            kind = self.value(module, call.func, depth + 1)
            found = self.method(kind, "__call__") if kind else None
        return found if found and isinstance(found[1], FUNCTIONS) else None

    def method(self, owner: str, name: str, depth: int = 0) -> tuple[Module, ast.AST] | None:
        """Where the project defines a method of a class, or of one it inherits from."""
        found = self.definition(f"{owner}.{name}") if ":" in owner else None
        home = self.definition(owner) if found is None else None
        if home is None or not isinstance(home[1], ast.ClassDef) or depth > DEEP:
            return found
        for base in home[1].bases:
            inherited = self.name(home[0], base)
            if inherited and (found := self.method(inherited, name, depth + 1)):
                return found
        return None

    def _held(self, module: Module, node: ast.Name, depth: int) -> str | None:
        scope: ast.AST | None = node
        while (scope := function_of(scope)) is not None:
            bound = module.bindings(scope).get(node.id)
            if bound and not isinstance(bound[0], ast.Global):
                return self._once(
                    (scope, node.id), partial(self._one_class, module, scope, bound, depth)
                )
        if node.id == "self":
            return None
        return self._global(self.name(module, node), depth)

    def _global(self, name: str | None, depth: int) -> str | None:
        """The class of a variable at the top of a module."""
        file, colon, identifier = (name or "").partition(":")
        module = self.module(file) if colon and file in self.files else None
        if module is None or "." in identifier or depth > DEEP:
            return None
        bound = [
            each
            for each in module.bindings(module.tree).get(identifier, ())
            if not is_none(getattr(each.parent, "value", each))
        ]
        find = partial(self._one_class, module, module.tree, bound, depth)
        return self._once((module.tree, identifier), find)

    def _one_class(
        self, module: Module, scope: ast.AST, bound: list[ast.AST], depth: int
    ) -> str | None:
        """The class that all bindings of a name agree on."""
        kinds = {self._bound(module, scope, each, depth) for each in bound}
        return kinds.pop() if len(kinds) == 1 else None

    def _bound(self, module: Module, scope: ast.AST, node: ast.AST, depth: int) -> str | None:
        """The class of what a binding binds: a parameter, an assignment, a `with ... as`."""
        if isinstance(node, ast.arg):
            return self._argument(module, scope, node)
        holder = node.parent
        if isinstance(holder, ast.AnnAssign):
            return self.annotated(module, holder.annotation)
        if isinstance(holder, ast.Assign | ast.NamedExpr) and node.slot in ("targets", "target"):
            return self.value(module, holder.value, depth + 1)
        if isinstance(holder, ast.Tuple | ast.List) and isinstance(holder.parent, ast.Assign):
            for target, value in paired(holder.parent.targets, holder.parent.value):
                if target is node:
                    return self.value(module, value, depth + 1)
        if isinstance(holder, ast.withitem):
            return self.entered(module, holder.context_expr, depth + 1)
        return None

    def _argument(self, module: Module, function: ast.AST, arg: ast.arg) -> str | None:
        first = arguments(function)[0] is arg
        owner = class_of(function)
        if first and owner is not None and function_of(function) is None and arg.arg == "self":
            return self.named(module, owner)
        declared = self.annotated(module, arg.annotation)
        return declared or self._injected(self.injection(module, function, arg))

    def _injected(self, injected: Injection | None) -> str | None:
        """The class of what FastAPI injects: what a provider hands out, or a class itself."""
        if injected is None:
            return None
        provider = self.definition(injected.provider)
        if provider and isinstance(provider[1], FUNCTIONS):
            return self.yielded(*provider)
        return injected.provider


def paired(
    targets: Iterable[ast.expr], value: ast.expr | None
) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """Each target of an assignment and what it gets: `a, b = c, d` are two."""
    for target in targets:
        many = isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List)
        if many and len(target.elts) == len(value.elts):
            starred = any(isinstance(each, ast.Starred) for each in [*target.elts, *value.elts])
            yield from () if starred else zip(target.elts, value.elts, strict=True)
        else:
            yield target, value
