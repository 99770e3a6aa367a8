"""Of which class a value is, as far as annotations and assignments tell."""

import ast
from collections.abc import Iterator

from project.annotations import DEEP, Annotations, first, is_none, quoted
from project.module import FUNCTIONS, Module, arguments, class_of, function_of

SESSION = "sqlalchemy.ext.asyncio.AsyncSession"
FACTORY = "sqlalchemy.ext.asyncio.async_sessionmaker"
ENGINE = "sqlalchemy.ext.asyncio.AsyncEngine"
TASK = "asyncio.Task"
# What is not called by the name of its class, and what it makes.
MAKES = {
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
YIELDING = {
    f"{home}.{name}"
    for home in ("typing", "collections.abc")
    for name in ("AsyncGenerator", "AsyncIterator", "AsyncIterable", "Generator", "Iterator")
}
MANAGERS = {"contextlib.AbstractAsyncContextManager", "typing.AsyncContextManager"}


class Values(Annotations):
    """Names, annotations, and the classes of values."""

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
            found = self.definition(self.name(module, node.func))
            if found and isinstance(found[1], FUNCTIONS):
                return self.yielded(*found)
        return self.value(module, node, depth + 1)

    def yielded(self, module: Module, function: ast.AST) -> str | None:
        """What a generator function, or a provider, hands out: by its return annotation."""
        returns = function.returns
        if isinstance(returns, ast.Constant) and isinstance(returns.value, str):
            returns = quoted(returns)
        if isinstance(returns, ast.Subscript):
            outer = self.name(module, returns.value)
            if outer in YIELDING or outer in MANAGERS:
                return self.annotated(module, first(returns))
        return self.annotated(module, returns)

    def attribute(self, owner: str, name: str, depth: int = 0) -> str | None:
        """The class of `object.name` for an object of a class that the project defines."""
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
            elif isinstance(each, FUNCTIONS) and each.name == name:
                marks = {self.name(module, mark) for mark in each.decorator_list}
                if marks & {"builtins.property", "functools.cached_property"}:
                    yield self.annotated(module, each.returns)
        for node in module.all(ast.Assign, ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                mine = isinstance(target, ast.Attribute) and target.attr == name
                if (
                    mine
                    and getattr(target.value, "id", "") == "self"
                    and class_of(node) is definition
                ):
                    declared = self.annotated(module, getattr(node, "annotation", None))
                    yield declared or self.value(module, node.value, depth + 1)

    def is_a(self, name: str | None, *bases: str, depth: int = 0) -> bool:
        """Whether a class is one of these or inherits from one, as far as the project shows."""
        if name is None or name in bases:
            return name in bases
        found = self.definition(name)
        if not found or not isinstance(found[1], ast.ClassDef) or depth > DEEP:
            return False
        heads = (each.value if isinstance(each, ast.Subscript) else each for each in found[1].bases)
        return any(self.is_a(self.name(found[0], each), *bases, depth=depth + 1) for each in heads)

    def _owner(self, module: Module, call: ast.Call, depth: int) -> str | None:
        if not isinstance(call.func, ast.Attribute):
            return None
        return self.value(module, call.func.value, depth + 1)

    def _called(self, module: Module, call: ast.Call, depth: int) -> str | None:
        name = self.name(module, call.func)
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
        if owner is None:
            return None
        method = METHODS.get((owner, call.func.attr))
        if method:
            return method
        found = self.definition(f"{owner}.{call.func.attr}") if ":" in owner else None
        return (
            self.annotated(found[0], found[1].returns)
            if found and isinstance(found[1], FUNCTIONS)
            else None
        )

    def _held(self, module: Module, node: ast.Name, depth: int) -> str | None:
        scope: ast.AST | None = node
        while (scope := function_of(scope)) is not None:
            bound = module.bindings(scope).get(node.id)
            if bound and not isinstance(bound[0], ast.Global):
                kinds = {self._bound(module, scope, each, depth) for each in bound}
                return kinds.pop() if len(kinds) == 1 else None
        if node.id == "self":
            return None
        return self._global(self.name(module, node), depth)

    def _global(self, name: str | None, depth: int) -> str | None:
        """The class of a variable at the top of a module."""
        file, colon, identifier = (name or "").partition(":")
        module = self.module(file) if colon and file in self.files else None
        if module is None or "." in identifier or depth > DEEP:
            return None
        kinds = {
            self._bound(module, module.tree, each, depth)
            for each in module.bindings(module.tree).get(identifier, ())
            if not is_none(getattr(each.parent, "value", each))
        }
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
        if isinstance(holder, ast.withitem):
            return self.entered(module, holder.context_expr, depth + 1)
        return None

    def _argument(self, module: Module, function: ast.AST, arg: ast.arg) -> str | None:
        first = arguments(function)[0] is arg
        owner = class_of(function)
        if first and owner is not None and function_of(function) is None and arg.arg == "self":
            return self.named(module, owner)
        declared = self.annotated(module, arg.annotation)
        if declared or not (injected := self.injection(module, function, arg)):
            return declared
        provider = self.definition(injected.provider)
        if provider and isinstance(provider[1], FUNCTIONS):
            return self.yielded(*provider)
        return injected.provider
