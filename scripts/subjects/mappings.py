"""Relationships of mapped classes, and the enums their columns hold."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from weakref import WeakKeyDictionary

from project.module import Module, keyword, spreads

from subjects.mapped import assigned

RELATIONSHIPS = ("sqlalchemy.orm.relationship", "sqlmodel.Relationship", "sqlalchemy.orm.relation")
ENUMS = (
    "sqlalchemy.Enum",
    "sqlalchemy.types.Enum",
    "sqlalchemy.dialects.postgresql.ENUM",
    "sqlalchemy.dialects.postgresql.named_types.ENUM",
)
_ENUM_BASES = ("enum.Enum", "enum.StrEnum")
_REVISIONS = {"versions", "migrations", "alembic"}
_LABEL = re.compile(rb"""['"](\w+)['"]""")
_LABELS: "WeakKeyDictionary[object, set[bytes]]" = WeakKeyDictionary()
_MANY = {"list", "List", "set", "Set", "Sequence", "Collection", "dict", "Dict", "Iterable"}
_MAPPED = {"Mapped", "WriteOnlyMapped", "DynamicMapped", "Optional", "Annotated"}


@dataclass(frozen=True)
class Relationship:
    """A relationship of a class: its call, what `lazy` says, whether it holds many (or None)."""

    call: ast.Call
    lazy: object
    many: bool | None
    target: str = ""  # the last name in its annotation

    @property
    def loads_on_access(self) -> bool:
        return self.lazy in (None, "select", True)


def relationship(module: Module, owner: str | None, name: str) -> Relationship | None:
    """The relationship of this name of a class or its bases, if the project declares it."""
    waiting, seen = [owner], set()
    while waiting:
        here = waiting.pop()
        found = module.project.definition(here)
        if here in seen or not found or not isinstance(found[1], ast.ClassDef):
            continue
        seen.add(here)
        home, definition = found
        value = assigned(definition, name)
        if isinstance(value, ast.Call):
            return _read(home, value) if home.name(value.func) in RELATIONSHIPS else None
        waiting += [home.name(base) for base in definition.bases]
    return None


def _read(module: Module, call: ast.Call) -> Relationship:
    lazy = keyword(call, "lazy")
    told = keyword(call, "sa_relationship_kwargs")
    if isinstance(told, ast.Dict):
        pairs = {
            getattr(key, "value", None): each
            for key, each in zip(told.keys, told.values, strict=True)
        }
        lazy = pairs.get("lazy", lazy)
    unknown = spreads(call) or (told is not None and not isinstance(told, ast.Dict))
    said = lazy.value if isinstance(lazy, ast.Constant) else ("?" if lazy or unknown else None)
    written = getattr(call.parent, "annotation", None) or (call.args[0] if call.args else None)
    words = re.findall(r"\w+", ast.unparse(written)) if written is not None else []
    named = [each for each in words if each not in _MAPPED | _MANY | {"None", "Union"}]
    return Relationship(call, said, _is_many(call), named[-1] if named else "")


def _is_many(call: ast.Call) -> bool | None:
    listed = keyword(call, "uselist")
    if isinstance(listed, ast.Constant):
        return bool(listed.value)
    inner = _unquoted(getattr(call.parent, "annotation", None))
    while isinstance(inner, ast.Subscript) and _last(inner.value) in _MAPPED:
        inner = _unquoted(inner.slice)
    if inner is None:
        return None
    return _last(inner.value if isinstance(inner, ast.Subscript) else inner) in _MANY


def _unquoted(node: ast.expr | None) -> ast.expr | None:
    """An annotation, also one in quotes; None for text that is no expression."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return node
    try:
        return ast.parse(node.value, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _last(node: ast.AST) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def members(module: Module, name: str | None) -> dict[str, object]:
    """The members of an enum that the project defines, as far as all are constants."""
    found = module.project.definition(name)
    if not found or not isinstance(found[1], ast.ClassDef):
        return {}
    definition = found[1]
    if not module.project.is_a(name, *_ENUM_BASES):
        return {}
    values: dict[str, object] = {}
    for each in definition.body:
        target = each.targets[0] if isinstance(each, ast.Assign) else None
        if isinstance(target, ast.Name) and not target.id.startswith("_"):
            if not isinstance(each.value, ast.Constant):
                return {}
            values[target.id] = each.value.value
    return values


def differing(values: dict[str, object]) -> tuple[str, str] | None:
    """A member whose name is not its value, where all values are strings."""
    if not all(isinstance(each, str) for each in values.values()):
        return None
    return next(((name, str(each)) for name, each in values.items() if name != each), None)


def is_label(module: Module, name: str) -> bool:
    """Whether a revision of the project writes a word as an enum's label."""
    return name.encode() in _labels(module)


def has_labels(module: Module) -> bool:
    """Whether the project has revisions that write labels of enums, or types of columns."""
    return bool(_labels(module))


def _labels(module: Module) -> set[bytes]:
    project = module.project
    if project not in _LABELS:
        _LABELS[project] = set()
        for file, path in project.files.items():
            try:
                source = path.read_bytes() if _REVISIONS & set(PurePosixPath(file).parts) else b""
            except OSError:
                continue
            if b"revision" in source and re.search(rb"(?i)enum|TYPE", source):
                _LABELS[project].update(_LABEL.findall(source))
    return _LABELS[project]


def enum_calls(module: Module) -> Iterator[tuple[ast.Call, str | None]]:
    """Column types that store an enum class: the call, and the class's name."""
    for call in module.calls(*ENUMS):
        if len(call.args) == 1 and not spreads(call) and keyword(call, "values_callable") is None:
            yield call, module.name(call.args[0])


def annotated_enums(module: Module) -> Iterator[tuple[ast.AnnAssign, ast.ClassDef, str | None]]:
    """Annotated columns without a type of their own: the column, its class, the annotation's."""
    for column in module.all(ast.AnnAssign):
        owner = column.parent
        if not isinstance(owner, ast.ClassDef):
            continue
        inner = column.annotation
        mapped = (
            isinstance(inner, ast.Subscript) and module.name(inner.value) == "sqlalchemy.orm.Mapped"
        )
        table = any(
            each.arg == "table" and getattr(each.value, "value", False) for each in owner.keywords
        )
        if (mapped or table) and not _has_type(module, column.value):
            yield column, owner, module.project.annotated(module, inner.slice if mapped else inner)


def _has_type(module: Module, value: ast.expr | None) -> bool:
    """Whether `mapped_column(...)` or `Field(...)` names the column's type."""
    if value is None or isinstance(value, ast.Constant | ast.Attribute):
        return False
    if not isinstance(value, ast.Call):
        return True
    name = module.name(value.func)
    if name == "sqlmodel.Field":
        return any(each.arg in (None, "sa_column", "sa_type") for each in value.keywords)
    if name != "sqlalchemy.orm.mapped_column":
        return True
    placed = [each for each in value.args if not isinstance(each, ast.Constant)]
    typed = [each for each in placed if "ForeignKey" not in ast.unparse(each)]
    return bool(typed) or spreads(value) or keyword(value, "type_") is not None
