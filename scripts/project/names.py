"""What a name in a module stands for: imports, aliases and re-exports followed inside the tree.

A name is written `asyncio.shield` when it comes from outside the project, `builtins.open`, or
`app/db.py:get_session` when the project defines it.
"""

import ast
import builtins
import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from project.canonical import CANONICAL
from project.files import Unread, parse
from project.module import COMPREHENSIONS, FUNCTIONS, SCOPES, Module

# Never a folder of the project, whatever the project calls its folders.
OUTSIDE = set(sys.stdlib_module_names) | {
    *("aiohttp", "alembic", "anyio", "asyncpg", "fastapi", "httpx", "httpx2", "jwt", "pydantic"),
    *("pydantic_settings", "sqlalchemy", "sqlmodel", "starlette", "procrastinate", "uvicorn"),
}
FOLLOWED = 40  # re-exports in a row, before a chain is taken for a circle


class Names:
    """The files of a project, parsed when they are asked for, and what names in them stand for."""

    def __init__(self, files: dict[str, Path]) -> None:
        self.files = files
        self.top = _common(files)
        self.unread: dict[str, Unread] = {}
        self._modules: dict[str, Module | None] = {}
        self._found: dict[tuple[str, str], str | None] = {}
        self._members: dict[tuple[str, str], str] = {}
        self._depth = 0

    def module(self, file: str, source: bytes | None = None) -> Module | None:
        """The parsed file, or None when it cannot be read; `unread` then says why."""
        if file not in self._modules:
            read = parse(self.files[file], file, source)
            if isinstance(read, Unread):
                self.unread[file] = read
                self._modules[file] = None
            else:
                self._modules[file] = Module(self, file, *read)
        return self._modules[file]

    def forget(self, file: str) -> None:
        """Free the tree of a file that is not needed for now."""
        self._modules.pop(file, None)

    def name(self, module: Module, node: ast.AST | None) -> str | None:
        """What an expression such as `a.b.c` stands for; None for a local variable or a value."""
        if node is None or node.__class__ not in (ast.Name, ast.Attribute):
            return None
        if "stands_for" not in node.__dict__:
            found = self._named(module, node)
            if self._depth:
                return found  # within a chain that may be cut
            node.stands_for = found
        return node.stands_for

    def _named(self, module: Module, node: ast.AST) -> str | None:
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        found = self._variable(module, node)
        for attribute in reversed(attributes):
            if found is None:
                return None
            found = self._attribute(module, found, attribute)
        return CANONICAL.get(found, found) if found else None

    def definition(self, name: str | None) -> tuple[Module, ast.AST] | None:
        """Where the project defines a function or class of this name, as module and node."""
        file, colon, qualified = (name or "").partition(":")
        if not (colon and qualified and file in self.files):
            return None
        module = self.module(file)
        if module is None:
            return None
        node: ast.AST = module.tree
        for part in qualified.split("."):
            bound = [
                each for each in module.bindings(node).get(part, ()) if isinstance(each, SCOPES)
            ]
            if not bound:
                return None
            node = bound[-1]
        return module, node

    def named(self, module: Module, node: ast.AST) -> str:
        """The name under which a function or class of the project is found by `definition`."""
        parts = [node.name]
        while not isinstance(node := node.parent, ast.Module):
            if isinstance(node, SCOPES):
                parts.append(getattr(node, "name", "<lambda>"))
        return f"{module.path}:{'.'.join(reversed(parts))}"

    def _variable(self, module: Module, node: ast.Name) -> str | None:
        below: ast.AST = node
        module.nodes  # noqa: B018 - sets the parents
        while (above := getattr(below, "parent", None)) is not None:
            if isinstance(above, COMPREHENSIONS) and _iterates(above, node.id):
                return None
            scope = isinstance(above, SCOPES) and below.slot == "body"
            # A class's names are not seen by its methods, only by its own statements.
            hidden = isinstance(above, ast.ClassDef) and _within_function(node, above)
            if scope and not hidden and node.id in module.bindings(above):
                return self._local(module, above, node.id)
            below = above
        return self.member(module, node.id) or _builtin(node.id)

    def member(self, module: Module, identifier: str) -> str | None:
        """What a name at the top of a module stands for, or None when nothing binds it there."""
        key = module.path, identifier
        if key not in self._members:
            bound = module.bindings(module.tree).get(identifier)
            if bound is None:
                return self._starred(module, identifier)
            found = self._binding(module, bound, identifier) or f"{module.path}:{identifier}"
            if self._depth:
                return found
            self._members[key] = found
        return self._members[key]

    def _local(self, module: Module, scope: ast.AST, identifier: str) -> str | None:
        bound = module.bindings(scope)[identifier]
        if isinstance(bound[0], ast.Global):
            return self.member(module, identifier)
        if all(
            isinstance(each, ast.alias | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            for each in bound
        ):
            return self._binding(module, bound, identifier)
        return None

    def _binding(self, module: Module, bound: list[ast.AST], identifier: str) -> str | None:
        """Follow an import or an alias; name a definition; None for any other value."""
        first = bound[0]
        if self._depth > FOLLOWED:
            return None
        self._depth += 1
        try:
            if isinstance(first, ast.alias):
                return self._imported(module, first)
            if isinstance(first, (*FUNCTIONS, ast.ClassDef)):
                return self.named(module, first)
            if len(bound) == 1 and isinstance(first, ast.Name):
                value = getattr(first.parent, "value", None)
                plain = isinstance(first.parent, ast.Assign | ast.AnnAssign)
                if plain and isinstance(value, ast.Name | ast.Attribute):
                    return self.name(module, value)
            return None
        finally:
            self._depth -= 1

    def _imported(self, module: Module, alias: ast.alias) -> str | None:
        statement = alias.parent
        if isinstance(statement, ast.Import):
            name = alias.name if alias.asname else alias.name.partition(".")[0]
            file = self.find(name, module.path)
            return f"{file}:" if file else CANONICAL.get(name, name)
        base = statement.module or ""
        if statement.level:
            return self._relative(module, statement.level, base, alias.name)
        file = self.find(base, module.path)
        if file and file != module.path:
            return self._from(file, alias.name)
        below = self.find(f"{base}.{alias.name}", module.path)
        return (
            f"{below}:" if below else CANONICAL.get(f"{base}.{alias.name}", f"{base}.{alias.name}")
        )

    def _relative(self, module: Module, level: int, base: str, name: str) -> str | None:
        place = _place(module, level, base)
        file = self._file(place)
        if file and file != module.path:  # else it is a package that imports its own module
            return self._from(file, name)
        below = self._file(place / name)
        return f"{below}:" if below else None

    def _from(self, file: str, name: str) -> str | None:
        module = self.module(file)
        found = self.member(module, name) if module else None
        if found:
            return found
        below = (
            self._file(PurePosixPath(file).parent / name) if file.endswith("__init__.py") else None
        )
        return f"{below}:" if below else f"{file}:{name}"

    def _starred(self, module: Module, identifier: str) -> str | None:
        for alias in module.bindings(module.tree).get("*", ()):
            if self._depth > FOLLOWED:
                return None
            self._depth += 1
            try:
                found = self._imported_star(module, alias.parent, identifier)
            finally:
                self._depth -= 1
            if found:
                return found
        return None

    def _imported_star(self, module: Module, statement: ast.ImportFrom, name: str) -> str | None:
        if statement.level:
            file = self._file(_place(module, statement.level, statement.module or ""))
        else:
            file = self.find(statement.module or "", module.path)
        other = self.module(file) if file else None
        return self.member(other, name) if other else None

    def _attribute(self, module: Module, found: str, attribute: str) -> str | None:
        if found.endswith(":"):
            return self._from(found[:-1], attribute)
        if ":" in found:
            return f"{found}.{attribute}"
        whole = f"{found}.{attribute}"
        if found.partition(".")[0] not in OUTSIDE and (file := self.find(whole, module.path)):
            return f"{file}:"
        return CANONICAL.get(whole, whole)

    def find(self, dotted: str, importer: str) -> str | None:
        """The file that `import dotted` reads in the project, or None."""
        if dotted.partition(".")[0] in OUTSIDE:
            return None
        key = dotted, importer
        if key not in self._found:
            places = (folder.joinpath(*dotted.split(".")) for folder in self._roots(importer))
            self._found[key] = next(filter(None, map(self._file, places)), None)
        return self._found[key]

    def _roots(self, importer: str) -> Iterator[PurePosixPath]:
        """The folders that may be on sys.path: the nearest first, those inside packages last."""
        folders = list(PurePosixPath(importer).parents)
        packages = [each for each in folders if str(each / "__init__.py") in self.files]
        for folder in folders:
            if folder not in packages:
                yield folder
                yield folder / "src"
        yield from packages

    def _file(self, place: PurePosixPath) -> str | None:
        for name in (f"{place}.py", str(place / "__init__.py")):
            if name in self.files:
                return name
        return None


def _place(module: Module, level: int, base: str) -> PurePosixPath:
    """Where a relative import looks: so many folders up, then down the dotted base."""
    folders = PurePosixPath(module.path).parents
    return folders[min(level, len(folders)) - 1].joinpath(*base.split("."))


def _iterates(comprehension: ast.AST, identifier: str) -> bool:
    return any(
        isinstance(each, ast.Name) and each.id == identifier
        for generator in comprehension.generators
        for each in ast.walk(generator.target)
    )


def _within_function(node: ast.AST, around: ast.ClassDef) -> bool:
    while (node := node.parent) is not around:
        if isinstance(node, (*FUNCTIONS, ast.Lambda)):
            return True
    return False


def _builtin(identifier: str) -> str | None:
    return f"builtins.{identifier}" if hasattr(builtins, identifier) else None


def _common(files: dict[str, Path]) -> PurePosixPath:
    """The folder that all files outside the current one are below."""
    folders = [
        str(PurePosixPath(each).parent) for each in files if PurePosixPath(each).is_absolute()
    ]
    return PurePosixPath(os.path.commonpath(folders)) if folders else PurePosixPath()
