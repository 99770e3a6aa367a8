"""Steps of a revision that hold a table against its readers or writers, and their online forms."""

import ast
import re
from collections.abc import Iterator
from weakref import WeakKeyDictionary

from project.module import Module, function_of, keyword

from subjects.history import folder_of, is_rebuilt
from subjects.revisions import Revision, Statement, Step, autocommit
from subjects.sql import HOLE, NAME, constant, unquoted

Blocking = tuple[ast.Call, str, str]  # the call, what happens there, what to write instead

_INDEX = re.compile(
    r"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)(?:IF NOT EXISTS )?"
    rf"(?:{NAME} )?ON (?:ONLY )?({NAME})",
    re.IGNORECASE,
)
_ALTER = re.compile(rf"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?({NAME}) (.*)", re.IGNORECASE)
_UNIQUE = re.compile(
    rf"\bADD (?:CONSTRAINT ({NAME}) )?UNIQUE (?:NULLS (?:NOT )?DISTINCT )?\(([^()]*)\)",
    re.IGNORECASE,
)
_BIGINT = re.compile(
    rf"ALTER (?:COLUMN )?({NAME}) (?:SET DATA )?TYPE (?:BIGINT|INT8)\b", re.IGNORECASE
)
_LOCKING = ("add_column", "alter_column", "drop_column")
_BLOCK = "an autocommit_block()"
_PLAIN = re.compile(r"INDEX (?:IF NOT EXISTS )?", re.IGNORECASE)
_VALIDATING: "WeakKeyDictionary[object, dict[str, list[bytes]]]" = WeakKeyDictionary()
_LONG = 90  # characters of a line that is shown rewritten


def indexes(module: Module, made: Revision) -> Iterator[Blocking]:
    """An index built while writers of its table wait."""
    for step in made.steps:
        if step.operation != "create_index" or made.is_new(step.table):
            continue
        name = constant(module, step.argument(0, "index_name"))
        if name and is_rebuilt(module, name):
            continue
        if not is_true(keyword(step.call, "postgresql_concurrently")):
            line = rewritten(step, postgresql_concurrently=True)
            waiting = _waiting(module, made, step.call, step.table)
            yield step.call, waiting, f"{line} in {_BLOCK}"
    for each in made.statements:
        found = _INDEX.match(each.text)
        if found and HOLE not in each.text[: found.start(1)] and not made.is_new(found[1]):
            text = _PLAIN.sub("INDEX CONCURRENTLY ", each.text, count=1)
            waiting = _waiting(module, made, each.call, found[1])
            yield each.call, waiting, f"{_short(text)} in {_BLOCK}"


def uniques(module: Module, made: Revision) -> Iterator[Blocking]:
    """A unique constraint that builds its index while the table is locked."""
    for step in made.steps:
        if step.operation == "create_unique_constraint" and not made.is_new(step.table):
            name = step.argument(0, "constraint_name")
            columns = step.argument(2, "columns")
            shown = [_shown(name), repr(step.table), _shown(columns)]
            if name is None or ast.unparse(name) == "None":
                shown[0] = repr("_".join(["uq", str(step.table), *_listed(columns)]))
            if schema := keyword(step.call, "schema"):
                shown.append(f"schema={_shown(schema)}")
            yield (
                step.call,
                f"readers and writers of {step.table} wait while its index is built",
                f"op.create_index({', '.join(shown)}, unique=True, postgresql_concurrently=True)"
                f" in {_BLOCK}, then ADD CONSTRAINT ... UNIQUE USING INDEX",
            )
    for each in made.statements:
        table, rest = _altered(each)
        found = _UNIQUE.search(rest)
        if table and found and not made.is_new(table):
            columns = re.findall(r"\w+", found[2])
            name = found[1] or "_".join(["uq", unquoted(table), *columns])
            yield (
                each.call,
                f"readers and writers of {unquoted(table)} wait while its index is built",
                f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({found[2]}) in {_BLOCK}, then"
                " ADD CONSTRAINT ... UNIQUE USING INDEX",
            )


def checks(module: Module, made: Revision) -> Iterator[Blocking]:
    """A CHECK that scans the table while its readers and writers wait."""
    for step in made.steps:
        if step.operation != "create_check_constraint" or made.is_new(step.table):
            continue
        if not is_true(keyword(step.call, "postgresql_not_valid")):
            line = rewritten(step, postgresql_not_valid=True)
            yield (
                step.call,
                f"readers and writers of {step.table} wait while its rows are checked",
                f"{line}, then VALIDATE CONSTRAINT in a transaction of its own",
            )
    yield from _constraints(
        made, "CHECK", "readers and writers of {} wait while its rows are checked"
    )


def foreign_keys(module: Module, made: Revision) -> Iterator[Blocking]:
    """A foreign key that stops writers of both tables while it scans."""
    for step in made.steps:
        if step.operation != "create_foreign_key" or made.is_new(step.table):
            continue
        if not is_true(keyword(step.call, "postgresql_not_valid")):
            referent = constant(module, step.argument(2, "referent_table"))
            other = f" and {referent}" if referent and not made.is_new(referent) else ""
            line = rewritten(step, postgresql_not_valid=True)
            yield (
                step.call,
                f"writers of {step.table}{other} wait while the rows of {step.table} are checked",
                f"{line}, then VALIDATE CONSTRAINT in a transaction of its own",
            )
    yield from _constraints(made, "FOREIGN KEY", "writers of {} wait while its rows are checked")


def _constraints(made: Revision, kind: str, message: str) -> Iterator[Blocking]:
    form = re.compile(rf"\bADD (?:CONSTRAINT {NAME} )?{kind}\b", re.IGNORECASE)
    for each in made.statements:
        table, rest = _altered(each)
        if not table or not form.search(rest) or made.is_new(table):
            continue
        if not re.search(r"\bNOT VALID\b", rest, re.IGNORECASE):
            yield (
                each.call,
                message.format(unquoted(table)),
                f"{_short(each.text)} NOT VALID, then VALIDATE CONSTRAINT in a transaction of its"
                " own",
            )


def wider(module: Module, made: Revision) -> Iterator[Blocking]:
    """An `int` column made a `bigint`, which rewrites the table."""
    for step in made.steps:
        if step.operation != "alter_column" or made.is_new(step.table):
            continue
        new, old = (_type(module, keyword(step.call, each)) for each in ("type_", "existing_type"))
        if new in ("BigInteger", "BIGINT") and old in ("Integer", "INTEGER", "SmallInteger"):
            column = constant(module, step.argument(1, "column_name")) or "the column"
            yield (
                step.call,
                f"the table {step.table} is rewritten while readers and writers wait",
                f"add a BigInteger column beside {column}, backfill it in batches, then swap names",
            )
    for each in made.statements:
        table, rest = _altered(each)
        found = _BIGINT.search(rest)
        if table and found and not made.is_new(table):
            column = unquoted(found[1])
            yield (
                each.call,
                f"the table {unquoted(table)} is rewritten while readers and writers wait",
                f"add a bigint column beside {column}, backfill it in batches, then swap names",
            )


def not_null(module: Module, made: Revision) -> Iterator[Blocking]:
    """A column made NOT NULL, which scans the table unless a validated CHECK is there."""
    for step in made.steps:
        if step.operation != "alter_column" or made.is_new(step.table):
            continue
        column = constant(module, step.argument(1, "column_name"))
        if not column or not is_false(keyword(step.call, "nullable")):
            continue
        if is_false(keyword(step.call, "existing_nullable")) or _proven(module, column):
            continue
        check = f"op.create_check_constraint('ck_{column}', '{step.table}', '{column} IS NOT NULL',"
        yield (
            step.call,
            f"nobody can read {step.table} while it is scanned for NULL in {column}",
            f"{check} postgresql_not_valid=True) and its VALIDATE in transactions before this line",
        )
    for each in made.statements:
        table, rest = _altered(each)
        found = re.search(rf"ALTER (?:COLUMN )?({NAME}) SET NOT NULL", rest, re.IGNORECASE)
        if table and found and not made.is_new(table) and not _proven(module, unquoted(found[1])):
            column = unquoted(found[1])
            yield (
                each.call,
                f"nobody can read {unquoted(table)} while it is scanned for NULL in {column}",
                f"ALTER TABLE {table} ADD CONSTRAINT ck_{column} CHECK ({column} IS NOT NULL) NOT"
                " VALID and its VALIDATE in transactions before this one",
            )


def _proven(module: Module, column: str) -> bool:
    """Whether revisions have a CHECK that the column holds no NULL, and validate a constraint."""
    form = re.compile(rf'\b{re.escape(column)}"? IS NOT NULL'.encode(), re.IGNORECASE)
    sources = _unvalidated(module)
    validated = any(re.search(rb"VALIDATE CONSTRAINT", each, re.IGNORECASE) for each in sources)
    return validated and any(form.search(each) for each in sources)


def _unvalidated(module: Module) -> list[bytes]:
    """The revisions of a history that add a constraint as not valid, or validate one."""
    folder = folder_of(module.path)
    known = _VALIDATING.setdefault(module.project, {})
    if folder not in known:
        known[folder] = []
        for name, path in module.project.files.items():
            if name.startswith(f"{folder}/") or name == module.path:
                try:
                    source = path.read_bytes()
                except OSError:
                    continue
                if re.search(rb"VALIDATE CONSTRAINT|NOT[ _]VALID", source, re.IGNORECASE):
                    known[folder].append(source)
    return known[folder]


def _altered(statement: Statement) -> tuple[str | None, str]:
    found = _ALTER.match(statement.text)
    return (found[1], found[2]) if found else (None, "")


def _waiting(module: Module, made: Revision, call: ast.Call, table: str | None) -> str:
    """Who waits for an index: readers too, where a step before it has locked the table."""
    name = unquoted(table or "")
    before = "" if autocommit(module, call) else _locking(module, made, call, name)
    who = "readers and writers" if before else "writers"
    why = f", as {before} keeps its lock until COMMIT" if before else ""
    return f"{who} of {name} wait until the index is built{why}"


def _locking(module: Module, made: Revision, call: ast.Call, table: str) -> str:
    """A step before a call, in its function and transaction, that locks a table for readers."""
    earlier = [
        (step.call, step.operation)
        for step in made.steps
        if step.operation in _LOCKING and unquoted(step.table or "") == table
    ]
    for each in made.statements:
        altered, rest = _altered(each)
        if altered and unquoted(altered) == table and not rest.upper().startswith("VALIDATE"):
            earlier.append((each.call, "ALTER TABLE"))
    for other, name in earlier:
        near = other.lineno < call.lineno and function_of(other) is function_of(call)
        if near and not autocommit(module, other):
            return name
    return ""


def _type(module: Module, node: ast.expr | None) -> str:
    """The last part of a column type's name: `sa.BigInteger()` is BigInteger."""
    func = node.func if isinstance(node, ast.Call) else node
    return (module.name(func) or "").rpartition(".")[2] if func is not None else ""


def is_true(node: ast.expr | None) -> bool:
    """Whether a keyword is given, and not as False or None."""
    return node is not None and not (isinstance(node, ast.Constant) and not node.value)


def is_false(node: ast.expr | None) -> bool:
    """Whether a keyword is given as False."""
    return isinstance(node, ast.Constant) and node.value is False


def rewritten(step: Step, **added: object) -> str:
    """The step as a call of `op` with keywords added, its longest arguments left out."""
    call = step.call
    args = [_shown(each) for each in call.args]
    if step.batch:
        args.insert(1, repr(step.table))
    given = [f"{each.arg}={_shown(each.value)}" for each in call.keywords if each.arg not in added]
    more = [f"{name}={value!r}" for name, value in added.items()]
    whole = f"op.{step.operation}({', '.join([*args, *given, *more])})"
    if len(whole) <= _LONG + 40:
        return whole
    return f"op.{step.operation}({', '.join([*args[:2], '...', *more])})"


def _shown(node: ast.AST | None) -> str:
    if node is None:
        return "..."
    inner = node.args[0] if isinstance(node, ast.Call) and node.args else node
    named = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "f"
    return ast.unparse(inner if named else node)


def _listed(node: ast.expr | None) -> list[str]:
    """The columns that a list of constants names."""
    elements = node.elts if isinstance(node, ast.List | ast.Tuple) else []
    return [str(each.value) for each in elements if isinstance(each, ast.Constant)]


def _short(text: str) -> str:
    return text if len(text) <= _LONG else text[:_LONG].rpartition(" ")[0] + " ..."
