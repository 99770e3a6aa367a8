"""What annotations say: the class they name, and what FastAPI injects there."""

import ast
from dataclasses import dataclass

from project.module import Module, default
from project.names import Names

SESSION = "sqlalchemy.ext.asyncio.AsyncSession"
FACTORY = "sqlalchemy.ext.asyncio.async_sessionmaker"
WRAPPERS = {"typing.Optional", "typing.Final", "typing.ClassVar", "typing.Required"}
ANNOTATED = ("typing.Annotated", "typing_extensions.Annotated")
YIELDING = {
    f"{home}.{name}"
    for home in ("typing", "collections.abc")
    for name in ("AsyncGenerator", "AsyncIterator", "AsyncIterable", "Generator", "Iterator")
}
MANAGERS = {"contextlib.AbstractAsyncContextManager", "typing.AsyncContextManager"}
INJECTORS = {"fastapi.Depends", "fastapi.Security"}
CALLABLES = {"typing.Callable", "collections.abc.Callable"}
DEEP = 12  # assignments and aliases followed in a row


@dataclass(frozen=True)
class Injection:
    """A `Depends(...)`: its call, the module it stands in, the provider's name, its scope."""

    call: ast.Call
    module: Module
    provider: str | None
    scope: str | None


class Annotations(Names):
    """Names, and what annotations say of them."""

    def annotated(self, module: Module, node: ast.expr | None, depth: int = 0) -> str | None:
        """The class that an annotation names, inside Annotated, Optional and `| None`."""
        if node is None or depth > DEEP:
            return None
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = quoted(node)
            return self.annotated(module, node, depth + 1) if node else None
        if isinstance(node, ast.BinOp):
            sides = [each for each in (node.left, node.right) if not is_none(each)]
            return self.annotated(module, sides[0], depth + 1) if len(sides) == 1 else None
        if isinstance(node, ast.Subscript):
            outer = self.name(module, node.value)
            if outer in WRAPPERS or outer in ANNOTATED:
                return self.annotated(module, first(node), depth + 1)
            if outer in CALLABLES and isinstance(node.slice, ast.Tuple):
                made = self.handed(module, node.slice.elts[-1], depth + 1)
                return FACTORY if made == SESSION else outer
            return outer
        name = self.name(module, node)
        alias = self.alias(name)
        if alias:
            return self.annotated(*alias, depth + 1)
        return SESSION if self.is_a(name, SESSION) else name

    def handed(self, module: Module, node: ast.expr | None, depth: int = 0) -> str | None:
        """The class of what a generator yields or a context manager gives, by its annotation."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = quoted(node)
        if isinstance(node, ast.Subscript):
            outer = self.name(module, node.value)
            if outer in YIELDING or outer in MANAGERS:
                return self.annotated(module, first(node), depth + 1)
        return self.annotated(module, node, depth + 1)

    def alias(self, name: str | None) -> tuple[Module, ast.expr] | None:
        """The value of a type alias at the top of a module: `Session = Annotated[...]`."""
        file, colon, identifier = (name or "").partition(":")
        module = self.module(file) if colon and file in self.files else None
        bound = module.bindings(module.tree).get(identifier, ()) if module else ()
        if module is None or len(bound) != 1 or not isinstance(bound[0], ast.Name):
            return None
        holder = bound[0].parent
        kinds = (ast.Assign, ast.AnnAssign, *([ast.TypeAlias] if hasattr(ast, "TypeAlias") else []))
        value = holder.value if isinstance(holder, kinds) else None
        if isinstance(value, ast.Call) and self.name(module, value.func) == "typing.NewType":
            return (module, value.args[1]) if len(value.args) == 2 else None
        return (module, value) if isinstance(value, ast.Subscript | ast.BinOp) else None

    def is_a(self, name: str | None, *bases: str, depth: int = 0) -> bool:
        """Whether a class is one of these or inherits from one, as far as the project shows."""
        if name is None or name in bases:
            return name in bases
        found = self.definition(name)
        if not found or not isinstance(found[1], ast.ClassDef) or depth > DEEP:
            return False
        heads = (each.value if isinstance(each, ast.Subscript) else each for each in found[1].bases)
        return any(self.is_a(self.name(found[0], each), *bases, depth=depth + 1) for each in heads)

    def injection(self, module: Module, function: ast.AST, arg: ast.arg) -> Injection | None:
        """What FastAPI injects into a parameter: by its default, or by its Annotated."""
        value = default(function, arg)
        found = self.depends(module, value)
        return found or self._metadata(module, arg.annotation)

    def depends(self, module: Module, node: ast.AST | None) -> Injection | None:
        """Read a `Depends(...)` or `Security(...)` call."""
        if not isinstance(node, ast.Call):
            return None
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if called not in module.injectors or self.name(module, node.func) not in INJECTORS:
            return None
        words = {each.arg: each.value for each in node.keywords}
        provider = node.args[0] if node.args else words.get("dependency")
        scope = words.get("scope")
        value = scope.value if isinstance(scope, ast.Constant) else ("?" if scope else None)
        return Injection(node, module, self.provider(module, provider), value)

    def provider(self, module: Module, node: ast.expr | None) -> str | None:
        """The name of what `Depends` is given."""
        return self.name(module, node)

    def _metadata(self, module: Module, node: ast.expr | None, depth: int = 0) -> Injection | None:
        if node is None or depth > DEEP:
            return None
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self._metadata(module, quoted(node), depth + 1)
        if isinstance(node, ast.BinOp):
            sides = [each for each in (node.left, node.right) if not is_none(each)]
            return self._metadata(module, sides[0], depth + 1) if len(sides) == 1 else None
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
            if self.name(module, node.value) in ANNOTATED:
                for each in node.slice.elts[1:]:
                    if found := self.depends(module, each):
                        return found
                return self._metadata(module, node.slice.elts[0], depth + 1)
            return None
        alias = self.alias(self.name(module, node))
        return self._metadata(*alias, depth + 1) if alias else None


def first(node: ast.Subscript) -> ast.expr:
    return (
        node.slice.elts[0] if isinstance(node.slice, ast.Tuple) and node.slice.elts else node.slice
    )


def is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def quoted(node: ast.Constant) -> ast.expr | None:
    """A forward reference as an expression that stands where the string stood."""
    try:
        found = ast.parse(node.value, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    for each in ast.walk(found):
        for name, child in ast.iter_fields(each):
            for part in child if isinstance(child, list) else (child,):
                if isinstance(part, ast.AST):
                    part.parent, part.slot = each, name
        if isinstance(each, ast.expr):
            ast.copy_location(each, node)
    found.parent, found.slot = node.parent, node.slot
    return found
