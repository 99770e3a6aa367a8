"""What a revision imports of the program, which goes on changing after the revision is written."""

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from project.module import Module, parents

from subjects.mapped import assigned, lineage
from subjects.revisions import is_revision

_KEPT = re.compile(r"migrations?$|alembic|deprecated|legacy|frozen|snapshot", re.IGNORECASE)


def models(module: Module) -> Iterator[tuple[ast.alias, str, str]]:
    """Mapped classes and tables that a revision imports: the import, the name, its table."""
    if not is_revision(module):
        return
    for alias in module.all(ast.alias):
        statement = alias.parent
        if not isinstance(statement, ast.ImportFrom):
            continue
        name = alias.asname or alias.name
        table = _table(module, module.project.name(module, _named(name, statement)))
        if table is not None and _is_used(module, name):
            yield alias, name, table
        elif table is None:
            yield from _through(module, alias, name)


def _through(module: Module, alias: ast.alias, name: str) -> Iterator[tuple[ast.alias, str, str]]:
    """The first model that is read of an imported module: `models.Order`."""
    for each in module.all(ast.Attribute):
        if getattr(each.value, "id", None) != name or _in_annotation(each):
            continue
        table = _table(module, module.name(each))
        used = getattr(each.parent, "attr", "") not in ("__tablename__", "name")
        if table is not None and used:
            yield alias, f"{name}.{each.attr}", table
            return


def _named(name: str, statement: ast.AST) -> ast.Name:
    """A use of a name where a statement stands."""
    node = ast.Name(id=name, ctx=ast.Load())
    node.parent, node.slot = statement, "names"
    return node


def _table(module: Module, name: str | None) -> str | None:
    """The table of a mapped class, or of a Table, outside the folder of the migrations."""
    file, colon, identifier = (name or "").partition(":")
    home = module.project.module(file) if colon and file in module.project.files else None
    if home is None or _is_beside(file, module.path):
        return None
    found = module.project.definition(name)
    if found and isinstance(found[1], ast.ClassDef):
        given = assigned(found[1], "__tablename__")
        if isinstance(given, ast.Constant):
            return str(given.value)
        root = any(each.arg == "table" for each in found[1].keywords)
        mapped = root or (given is not None and lineage(*found).root)
        return found[1].name.lower() if mapped else None
    bound = home.bindings(home.tree).get(identifier, ())
    made = getattr(bound[0].parent, "value", None) if len(bound) == 1 else None
    if isinstance(made, ast.Call) and home.name(made.func) in (
        "sqlalchemy.Table",
        "sqlalchemy.schema.Table",
    ):
        first = made.args[0] if made.args else None
        return first.value if isinstance(first, ast.Constant) else identifier
    return None


def _is_beside(file: str, revision: str) -> bool:
    """Whether a file lies with the revisions, and so is kept as they are."""
    folder = PurePosixPath(revision).parent.parent
    return is_kept(file) or (folder.name != "" and PurePosixPath(file).is_relative_to(folder))


def is_kept(file: str) -> bool:
    """Whether a path says that the code in it is a copy of what once was."""
    return any(_KEPT.search(part) for part in PurePosixPath(file).with_suffix("").parts)


def _is_used(module: Module, name: str) -> bool:
    """Whether the code reads more of a model than its table's name."""
    for each in module.all(ast.Name):
        if each.id == name and isinstance(each.ctx, ast.Load):
            attribute = getattr(each.parent, "attr", "")
            if attribute not in ("__tablename__", "name") and not _in_annotation(each):
                return True
    return False


def _in_annotation(node: ast.AST) -> bool:
    below = node
    for above in parents(node):
        if below.slot in ("annotation", "returns"):
            return True
        below = above
    return False
