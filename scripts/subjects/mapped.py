"""Mapped classes of SQLAlchemy: their bases, and what these say of every column."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from project.module import FUNCTIONS, Module, keyword, parents
from project.names import Names

ROOTS = {
    *("sqlalchemy.orm.DeclarativeBase", "sqlalchemy.orm.DeclarativeBaseNoMeta"),
    "sqlmodel.SQLModel",
}
MAKERS = {"sqlalchemy.orm.declarative_base", "sqlalchemy.ext.declarative.declarative_base"}
# Bases of other people that leave mapper arguments and types of columns alone.
PLAIN = ("sqlalchemy.", "sqlmodel.", "typing.", "abc.", "builtins.", "fastapi_users")
PROTOCOLS = {"typing.Protocol", "typing_extensions.Protocol"}
COLUMNS = {"sqlalchemy.orm.mapped_column", "sqlalchemy.Column", "sqlmodel.Column"}
SYNCHRONOUS = re.compile(rb"sqlalchemy(?:\.orm)? import [^\n]*\bSession\b")
MYSQL = re.compile(rb"(?i)mysql|mariadb")
SQLITE = re.compile(rb"(?i)sqlite")
POSTGRES = re.compile(rb"(?i)postgres|asyncpg|psycopg")
ENCODE = re.compile(rb"(?m)^from databases\b|^import databases\b")  # runs SQL without a Session
NAIVE = re.compile(rb"\bdatetime_to_db\(|naive_utc\(")  # helpers that take the zone off each value


@dataclass
class Spoken:
    """How many files of a project speak of something."""

    asynchronous: int = 0
    synchronous: int = 0
    eager_defaults: int = 0
    type_annotation_map: int = 0
    postgres: int = 0
    mysql: int = 0
    sqlite: int = 0
    naive: int = 0
    encode: int = 0


@dataclass
class Lineage:
    """A class and the classes of the project it inherits from, itself first."""

    classes: list[tuple[Module, ast.ClassDef]] = field(default_factory=list)
    root: bool = False  # it is known which class makes it a mapped one
    unknown: bool = False  # some base is somebody else's
    made: list[ast.Call] = field(default_factory=list)  # declarative_base(...) calls

    def names(self) -> list[str]:
        return [definition.name for _, definition in self.classes]


_SPOKEN: WeakKeyDictionary[Names, Spoken] = WeakKeyDictionary()


def spoken(project: Names) -> Spoken:
    """Count, once a project, the files that hold certain words. Files are not parsed for it."""
    if project not in _SPOKEN:
        found = _SPOKEN[project] = Spoken()
        for path in project.files.values():
            try:
                source = path.read_bytes()
            except OSError:
                continue
            found.postgres += POSTGRES.search(source) is not None
            found.mysql += MYSQL.search(source) is not None
            found.sqlite += SQLITE.search(source) is not None
            found.encode += ENCODE.search(source) is not None
            if b"sqlalchemy" in source or b"sqlmodel" in source:
                found.asynchronous += b"AsyncSession" in source
                found.synchronous += SYNCHRONOUS.search(source) is not None
                found.eager_defaults += b"eager_defaults" in source
                found.type_annotation_map += b"type_annotation_map" in source
                found.naive += NAIVE.search(source) is not None
    return _SPOKEN[project]


def is_asynchronous(project: Names) -> bool:
    """Whether the project's sessions are AsyncSessions for the most part, or not seen at all."""
    words = spoken(project)
    return words.asynchronous >= max(words.synchronous, words.encode)


def is_for_postgres(project: Names) -> bool:
    """Whether the project speaks of PostgreSQL more than of MySQL, or of no database at all."""
    words = spoken(project)
    if words.postgres:
        return words.postgres >= words.mysql
    return not (words.mysql or words.sqlite)


def lineage(module: Module, definition: ast.ClassDef) -> Lineage:
    """The classes a class inherits from, as far as the project shows."""
    found = Lineage()
    waiting: list[tuple[Module, ast.ClassDef]] = [(module, definition)]
    while waiting and len(found.classes) < 60:
        here, node = waiting.pop(0)
        if any(node is known for _, known in found.classes):
            continue
        found.classes.append((here, node))
        for base in node.bases:
            bare = base.value if isinstance(base, ast.Subscript) else base
            name = here.name(bare)
            defined = here.project.definition(name)
            if defined and isinstance(defined[1], ast.ClassDef):
                waiting.append(defined)
            elif name in ROOTS:
                found.root = True
            elif made := _made(here, name):
                found.root = True
                found.made.append(made)
            elif not (name or "").startswith(PLAIN) or name in PROTOCOLS:
                found.unknown = True
    return found


def eager_base(found: Lineage) -> tuple[str, str]:
    """The base of all models, and what makes its updates return what the database computes."""
    said = '`__mapper_args__ = {"eager_defaults": True}`'
    called = found.made[0] if found.made else None
    target = getattr(called.parent, "targets", [None])[0] if called is not None else None
    if called is None or not isinstance(target, ast.Name):
        return found.names()[-1], f"{said} in `{found.names()[-1]}`"
    if given := keyword(called, "cls"):
        return target.id, f"{said} in `{ast.unparse(given)}`"
    line = f"{target.id} = {ast.unparse(called.func)}(cls=Eager)"
    return target.id, f"`{line}`, and {said} in `class Eager`"


def _made(module: Module, name: str | None) -> ast.Call | None:
    """The call that made a base: `Base = declarative_base(...)`, `mappers.generate_base()`."""
    file, colon, identifier = (name or "").partition(":")
    home = module.project.module(file) if colon and file in module.project.files else None
    bound = home.bindings(home.tree).get(identifier, ()) if home else ()
    value = getattr(bound[0].parent, "value", None) if len(bound) == 1 else None
    if home is None or not isinstance(value, ast.Call):
        return None
    generated = getattr(value.func, "attr", "") == "generate_base"
    return value if generated or home.name(value.func) in MAKERS else None


def assigned(definition: ast.ClassDef, name: str) -> ast.AST | None:
    """What a class body assigns to a name: the value, or the function that computes it."""
    for each in definition.body:
        if isinstance(each, ast.Assign):
            if any(getattr(target, "id", "") == name for target in each.targets):
                return each.value
        elif isinstance(each, ast.AnnAssign):
            if getattr(each.target, "id", "") == name:
                return each.value
        elif isinstance(each, FUNCTIONS) and each.name == name:
            return each
    return None


def says(node: ast.AST | None, word: str) -> bool:
    """Whether a node holds a string or a keyword of this name."""
    return node is not None and any(
        (isinstance(each, ast.Constant) and each.value == word)
        or (isinstance(each, ast.keyword) and each.arg == word)
        for each in ast.walk(node)
    )


def eager(found: Lineage, project: Names) -> bool:
    """Whether an UPDATE may return what the database computes for a class, or a subclass."""
    for _, node in found.classes:
        arguments = assigned(node, "__mapper_args__")
        if says(arguments, "eager_defaults"):
            return True
        if arguments is not None and not isinstance(arguments, ast.Dict):
            return spoken(project).eager_defaults > 0
    last = found.classes[0][1]
    table = assigned(last, "__tablename__") or assigned(last, "__table__")
    mapped = table is not None or any(each.arg == "table" for each in last.keywords)
    certain = found.root and not found.unknown and mapped
    return not certain and spoken(project).eager_defaults > 0


def maps_datetime(found: Lineage, project: Names) -> bool:
    """Whether a base gives datetimes a type of its own, or may do so."""
    if found.unknown:
        return True
    for module, node in found.classes:
        if assigned(node, "registry") or assigned(node, "__table__"):
            return True
        mapping = assigned(node, "type_annotation_map")
        if mapping is not None:
            return _has_datetime(module, mapping)
    if any(
        each.arg in ("type_annotation_map", None) or getattr(call.func, "attr", "") != ""
        for call in found.made
        for each in call.keywords
    ):
        return True
    return not found.root and spoken(project).type_annotation_map > 0


def _has_datetime(module: Module, mapping: ast.AST) -> bool:
    if not isinstance(mapping, ast.Dict):
        return True
    return any(key is None or module.name(key) == "datetime.datetime" for key in mapping.keys)


def column_of(call: ast.Call) -> tuple[ast.ClassDef, str] | None:
    """The class in whose body a column is defined, and the column's name."""
    name = ""
    for above in parents(call):
        if isinstance(above, ast.Assign | ast.AnnAssign) and not name:
            target = above.targets[0] if isinstance(above, ast.Assign) else above.target
            name = getattr(target, "id", "")
        elif isinstance(above, FUNCTIONS) and not name:
            name = above.name
        elif isinstance(above, ast.ClassDef):
            return (above, name) if name else None
    return None


def columns(module: Module) -> Iterator[tuple[ast.Call, ast.ClassDef, str]]:
    """The columns that classes of a module define: call, class, name."""
    for call in sorted(module.calls(*COLUMNS), key=lambda each: (each.lineno, each.col_offset)):
        if place := column_of(call):
            yield call, *place
