"""Alembic revisions: what their upgrades do, step by step, and to which tables."""

import ast
import re
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from weakref import WeakKeyDictionary

from project.module import FUNCTIONS, Module, function_of, keyword, parents, spreads

from subjects.history import folder_of
from subjects.mapped import is_for_postgres
from subjects.sql import HOLE, NAME, constant, held, split, unquoted

_TABLE = {  # where an operation takes its table: position, keyword
    "add_column": (0, "table_name"),
    "alter_column": (0, "table_name"),
    "create_check_constraint": (1, "table_name"),
    "create_foreign_key": (1, "source_table"),
    "create_index": (1, "table_name"),
    "create_table": (0, "table_name"),
    "create_unique_constraint": (1, "table_name"),
    "drop_column": (0, "table_name"),
    "drop_index": (1, "table_name"),
}
_REWRITTEN = ("create_index", "create_foreign_key", "create_check_constraint")  # shown as written
_MADE = re.compile(
    rf"CREATE (?:(?:UNLOGGED|TEMP|TEMPORARY|GLOBAL|LOCAL|FOREIGN) )*(?:TABLE|MATERIALIZED VIEW)"
    rf" (?:IF NOT EXISTS )?({NAME})",
    re.IGNORECASE,
)
_MAKES = re.compile(r"^_?(?:create|make|add)_(?:\w+_)?table")
_EMPTIES = ("TRUNCATE TABLE", "TRUNCATE", "DELETE FROM")
_EMPTIED = re.compile(rf"(?:{'|'.join(_EMPTIES)}) ({NAME})(?: CASCADE)?$", re.IGNORECASE)
_OTHERS = ("sqlite", "mysql", "mariadb", "oracle", "mssql")
_DATABASE = re.compile(rb"(?i)postgres|psycopg|asyncpg|sqlite|mysql|mariadb|oracle|mssql")
_ELSEWHERE: "WeakKeyDictionary[object, dict[str, bool]]" = WeakKeyDictionary()
_READ: "WeakKeyDictionary[Module, Revision]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Step:
    """A call of an operation: `op.create_index(...)`, or the same of a batch on one table."""

    call: ast.Call
    operation: str
    table: str | None
    batch: ast.Call | None = None

    def argument(self, position: int, name: str) -> ast.expr | None:
        """An argument by its position in `op`'s form of the operation, or by its keyword."""
        position -= 1 if self.batch and position >= _TABLE[self.operation][0] else 0
        placed = self.call.args[position] if len(self.call.args) > position else None
        return placed if placed is not None else keyword(self.call, name)


@dataclass(frozen=True)
class Statement:
    """One SQL statement that an upgrade executes."""

    call: ast.Call
    text: str


@dataclass
class Revision:
    """What an upgrade does on PostgreSQL, in the order of the source.

    `created` holds the tables that have no rows: made by the upgrade, or emptied by it.
    """

    steps: list[Step] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    executed: list[ast.Call] = field(default_factory=list)
    created: set[str] = field(default_factory=set)
    everything: bool = False  # it creates tables that cannot be listed

    def is_new(self, table: str | None) -> bool:
        """Whether a table has no rows that anybody waits for, or cannot be told from the source."""
        return self.everything or not table or HOLE in table or unquoted(table) in self.created


def is_revision(module: Module) -> bool:
    """Whether the module is a revision, also one shown without its identifiers."""
    bound = module.bindings(module.tree)
    return module.is_revision or (
        isinstance(bound.get("upgrade", [None])[0], ast.FunctionDef) and b"alembic" in module.source
    )


def revision(module: Module) -> Revision:
    """What the upgrade of a revision does; nothing for what is no revision for PostgreSQL."""
    if module not in _READ:
        wanted = is_revision(module) and on_postgresql(module)
        _READ[module] = _read(module) if wanted else Revision()
    return _READ[module]


def _read(module: Module) -> Revision:
    found = Revision()
    upgrades = _upgrades(module)
    loops: list[tuple[Step, list[str]]] = []
    for call in module.all(ast.Call):
        if not any(each in upgrades for each in parents(call)) or runs_elsewhere(call):
            continue
        step = _step(module, call)
        if step and step.batch is None and step.operation in _REWRITTEN:
            listed = _listed(module, step.argument(*_TABLE[step.operation]))
            loops += [(step, listed)] if listed else []
        if step:
            if not spreads(call):
                found.steps.append(step)
            if step.operation == "create_table" and step.table:
                found.created.add(unquoted(step.table))
            if step.operation == "create_table" and not step.table:
                found.everything = True
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if not step and _MAKES.search(name) and call.args:
            found.created.add(unquoted(constant(module, call.args[0]) or ""))
        if name in ("create_all", "create") and isinstance(call.func, ast.Attribute):
            _created(module, call, found)
        if name in ("execute", "exec_driver_sql", "scalar", "scalars") and call.args:
            found.executed.append(call)
            text = constant(module, call.args[0])
            for each in split(text) if text else ():
                found.statements.append(Statement(call, each))
                if made := (_MADE.match(each) or _EMPTIED.match(each)):
                    found.created.add(unquoted(made[1]))
    _renamed(module, found)
    for step, tables in loops:
        kept = next((each for each in tables if not found.is_new(each)), None)
        found.steps[found.steps.index(step)] = replace(step, table=kept)
    return found


def _listed(module: Module, node: ast.expr | None) -> list[str]:
    """The names that a `for` over a literal list gives to an argument."""
    for loop in parents(node) if isinstance(node, ast.Name) else ():
        targets = [loop.target] if isinstance(loop, ast.For) else []
        many = bool(targets) and isinstance(loop.target, ast.Tuple)
        named = [getattr(each, "id", "") for each in (loop.target.elts if many else targets)]
        if node.id not in named:
            continue
        rows = held(module, loop.iter) if isinstance(loop.iter, ast.Name) else loop.iter
        given = rows.elts if isinstance(rows, ast.List | ast.Tuple | ast.Set) else []
        if many:
            place = named.index(node.id)
            given = [one for each in given for one in getattr(each, "elts", [])[place:][:1]]
        return [name for each in given if (name := constant(module, each))]
    return []


def _upgrades(module: Module) -> set[ast.AST]:
    """`upgrade` and the functions of the module that it leads to."""
    bound = module.bindings(module.tree)
    waiting = [each for each in bound.get("upgrade", ()) if isinstance(each, FUNCTIONS)]
    found: set[ast.AST] = set()
    while waiting:
        function = waiting.pop()
        if function in found:
            continue
        found.add(function)
        for each in ast.walk(function):
            if isinstance(each, ast.Name) and each.id != "downgrade":
                waiting += [one for one in bound.get(each.id, ()) if isinstance(one, FUNCTIONS)]
    return found


def _step(module: Module, call: ast.Call) -> Step | None:
    name = module.name(call.func) or ""
    if name.startswith("alembic.op."):
        operation = name.removeprefix("alembic.op.")
        if operation not in _TABLE:
            return None
        position, word = _TABLE[operation]
        placed = call.args[position] if len(call.args) > position else keyword(call, word)
        return Step(call, operation, constant(module, placed))
    operation = getattr(call.func, "attr", "")
    if operation not in _TABLE or not isinstance(call.func.value, ast.Name):
        return None
    batch = _batch(module, call)
    if batch is None:
        return None
    placed = batch.args[0] if batch.args else keyword(batch, "table_name")
    return Step(call, operation, constant(module, placed), batch)


def _batch(module: Module, call: ast.Call) -> ast.Call | None:
    """The `op.batch_alter_table(...)` whose target a call is a method of."""
    for above in parents(call):
        for item in above.items if isinstance(above, ast.With) else ():
            opened = item.context_expr
            named = getattr(item.optional_vars, "id", None) == call.func.value.id
            if (
                named
                and module.name(getattr(opened, "func", None)) == "alembic.op.batch_alter_table"
            ):
                return opened
    return None


def _created(module: Module, call: ast.Call, found: Revision) -> None:
    """Take in `metadata.create_all(...)`, or `Table(...).create(...)` with the table's name."""
    owner = call.func.value
    if isinstance(owner, ast.Name):
        owner = held(module, owner) or owner
    made = isinstance(owner, ast.Call) and module.name(owner.func) == "sqlalchemy.Table"
    if made and owner.args and (table := constant(module, owner.args[0])):
        found.created.add(unquoted(table))
    elif call.func.attr == "create_all":
        found.everything = True


def _renamed(module: Module, found: Revision) -> None:
    """A new table that is renamed is new under its second name too."""
    for call in module.calls("alembic.op.rename_table"):
        names = [constant(module, each) for each in call.args[:2]]
        if len(names) == 2 and all(names) and unquoted(str(names[0])) in found.created:
            found.created.add(unquoted(str(names[1])))
    for each in found.statements:
        said = re.match(rf"ALTER TABLE (?:IF EXISTS )?({NAME}) RENAME TO ({NAME})", each.text, re.I)
        if said and unquoted(said[1]) in found.created:
            found.created.add(unquoted(said[2]))


def runs_elsewhere(call: ast.Call) -> bool:
    """Whether a call runs on other databases only: `if bind.dialect.name == "sqlite":`."""
    function = function_of(call)
    if any(each in getattr(function, "name", "").lower() for each in _OTHERS):
        return True
    below: ast.AST = call
    for above in parents(call):
        branch = isinstance(above, ast.If) and below.slot in ("body", "orelse")
        if branch and _excludes(above.test) == (below.slot == "body"):
            return True
        below = above
    return False


def _excludes(test: ast.expr) -> bool | None:
    """Whether a test is false on PostgreSQL (True), or false elsewhere (False)."""
    text = ast.unparse(test).lower()
    if " and " in text or " or " in text:
        return None
    other = any(each in text for each in _OTHERS)
    own = "postgres" in text
    if other == own:
        return None
    negative = text.startswith("not ") or "!=" in text or " not in " in text
    return other != negative


def on_postgresql(module: Module) -> bool:
    """Whether the project can run on PostgreSQL: no, if its source only names other databases."""
    if any(each in PurePosixPath(module.path).parent.as_posix().lower() for each in _OTHERS):
        return False
    return is_for_postgres(module.project) and not _is_elsewhere(module)


def _is_elsewhere(module: Module) -> bool:
    """Whether the revisions and their env.py only name databases other than PostgreSQL."""
    folder = folder_of(module.path)
    known = _ELSEWHERE.setdefault(module.project, {})
    if folder not in known:
        above = PurePosixPath(folder).parent.as_posix()
        near = folder if above == "." else above
        words: set[bytes] = set()
        for name, path in module.project.files.items():
            if name.startswith(f"{near}/"):
                try:
                    words.update(each.lower() for each in _DATABASE.findall(path.read_bytes()))
                except OSError:
                    continue
        others = {each.encode() for each in _OTHERS}
        known[folder] = bool(words) and words <= others
    return known[folder]


def autocommit(module: Module, node: ast.AST) -> bool:
    """Whether a node stands in a `with op.get_context().autocommit_block():`."""
    return any(
        getattr(getattr(item.context_expr, "func", None), "attr", "") == "autocommit_block"
        for above in parents(node)
        if isinstance(above, ast.With)
        for item in above.items
    )
