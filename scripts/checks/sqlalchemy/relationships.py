"""What can be seen in code of rules/sqlalchemy/relationships.md."""

import ast
from collections.abc import Iterator

from checks import Report, check
from project.module import Module, keyword
from subjects.awaited import awaited
from subjects.deletions import refused
from subjects.frozen import is_kept
from subjects.loads import created, implicit
from subjects.locks import is_false
from subjects.mapped import assigned, is_asynchronous, lineage
from subjects.mappings import (
    RELATIONSHIPS,
    annotated_enums,
    differing,
    enum_calls,
    has_labels,
    is_label,
    members,
)
from subjects.pages import ambiguous, doubled, partial


@check("awaitable_attrs", "AsyncSession")
def forbid_implicit_loads(module: Module) -> Iterator[Report]:
    """A relationship that is loaded for each row, or that access would have to load."""
    for holder, row, name, sure in awaited(module):
        yield Report(
            holder,
            f"a statement for each {row}, to load its {name}",
            f"{row}.{name}, and .options(selectinload(...{name})) on the query of the loop",
            not sure,
        )
    for read in implicit(module):
        written = ast.unparse(read.node)
        yield Report(
            read.node,
            f"{written} is not loaded, and a coroutine cannot load it on access",
            read.cure,
        )


@check("AsyncSession")
def collections_of_new_rows(module: Module) -> Iterator[Report]:
    """A collection of a new object that nothing has set before its flush."""
    for read in created(module):
        written = ast.unparse(read.node)
        yield Report(
            read.node,
            f"{written} was neither set nor loaded before the flush, so it cannot be read",
            f"{read.node.attr}=[] where {read.variable} is constructed",
        )


@check("delete(")
def deleting_a_parent(module: Module) -> Iterator[Report]:
    """A deletion that sets the key of its children to NULL, where the column is NOT NULL."""
    for call, name, column in refused(module):
        yield Report(
            call,
            f"sets {column} of each of {name} to NULL, which its NOT NULL column refuses if there"
            " are any",
            'cascade="save-update, merge, expunge, delete, delete-orphan", passive_deletes=True on'
            f' {name}, and ondelete="CASCADE" on the key of {column}',
            True,
        )


@check("dynamic", "DynamicMapped")
def large_collections(module: Module) -> Iterator[Report]:
    """A dynamic collection, which raises in a coroutine."""
    if not is_asynchronous(module.project):
        return
    for call in module.calls(*RELATIONSHIPS, "sqlalchemy.orm.backref"):
        lazy = keyword(call, "lazy")
        if isinstance(lazy, ast.Constant) and lazy.value == "dynamic":
            yield Report(call, *_dynamic(module, call))
            continue
        holder = call.parent
        inner = getattr(holder, "annotation", None)
        outer = module.name(inner.value) if isinstance(inner, ast.Subscript) else None
        if outer == "sqlalchemy.orm.DynamicMapped":
            yield Report(call, *_dynamic(module, call))


def _dynamic(module: Module, call: ast.Call) -> tuple[str, str]:
    first = call.args[0] if call.args else None
    if module.name(call.func) == "sqlalchemy.orm.backref":
        named = ast.unparse(first).strip("'\"") if first is not None else "backref"
        return _raises(named), f'lazy="write_only", read by {named}.select()'
    named = getattr(getattr(call.parent, "target", None), "id", "the collection")
    if isinstance(call.parent, ast.Assign):
        named = ast.unparse(call.parent.targets[0])
    inner = getattr(getattr(call.parent, "annotation", None), "slice", None)
    member = getattr(inner, "slice", inner) or first
    kind = ast.unparse(member).strip("'\"") if member is not None else "..."
    kind = repr(kind) if isinstance(member, ast.Constant) else kind
    return _raises(named), f"{named}: WriteOnlyMapped[{kind}], read by {named}.select()"


def _raises(named: str) -> str:
    return f"a dynamic {named} raises when a coroutine reads it"


@check("contains_eager")
def filter_parents_by_exists(module: Module) -> Iterator[Report]:
    """LIMIT over joined rows, with collections that hold some of their members."""
    for limit, path in partial(module):
        written = ast.unparse(path)
        yield Report(
            limit,
            f"counts joined rows, so parents and members of {written} are missing",
            f".where({written}.any(...)).options(selectinload({written})) instead of the join",
        )


@check("order_by")
def page_by_a_unique_key(module: Module) -> Iterator[Report]:
    """A cursor on a column whose values several rows can share."""
    for where, column, sign, sure in ambiguous(module):
        written = ast.unparse(column)
        owner = ast.unparse(column.value) if isinstance(column, ast.Attribute) else None
        key = f"{owner}.id" if owner else "key"
        yield Report(
            where,
            f"rows that share the last row's {written} are skipped",
            f"tuple_({written}, {key}) {sign} ({ast.unparse(where.comparators[0])}, ...), and order"
            " by both",
            not sure,
        )


@check("joinedload")
def two_joined_collections(module: Module) -> Iterator[Report]:
    """Two collections of one parent in one join."""
    for loader, first, second in doubled(module):
        yield Report(
            loader,
            f"every member of {ast.unparse(first)} comes with every member of"
            f" {ast.unparse(second)}",
            f"selectinload({ast.unparse(second)})",
        )


@check("Enum", "enum", "ENUM", "Mapped")
def enum_columns(module: Module) -> Iterator[Report]:
    """Columns that store the names of an enum's members, not their values."""
    if module.is_revision or is_kept(module.path):
        return
    for call, name in enum_calls(module):
        pair = differing(members(module, name))
        if pair and not _says_names(call, name, module):
            words = [ast.unparse(each) for each in call.args]
            words += ["values_callable=lambda e: [m.value for m in e]"]
            words += [f"{each.arg}={ast.unparse(each.value)}" for each in call.keywords]
            yield _named(module, call, pair, f"{ast.unparse(call.func)}({', '.join(words)})")
    for column, owner, name in annotated_enums(module):
        pair = differing(members(module, name))
        if pair and not _says_names(column, name, module) and not _has_map(module, owner):
            short = (name or "").rpartition(":")[2].rpartition(".")[2]
            made = f"Enum({short}, values_callable=lambda e: [m.value for m in e])"
            yield _named(module, column, pair, _typed(column, owner, made))


def _named(module: Module, node: ast.AST, pair: tuple[str, str], instead: str) -> Report:
    """A column that stores names; a hint where revisions have made it so, or rows hold them."""
    made = is_label(module, pair[0])
    call = node.value if isinstance(node, ast.AnnAssign) else node
    native = keyword(call, "native_enum") if isinstance(call, ast.Call) else None
    settled = made or (is_false(native) and has_labels(module))
    renamed = f", after ALTER TYPE ... RENAME VALUE '{pair[0]}' TO '{pair[1]}'" if made else ""
    return Report(node, _stored(pair), f"{instead}{renamed}", settled and not _says(node, pair[1]))


def _says(node: ast.AST, value: str) -> bool:
    """Whether the column's server default is the value that its type lacks."""
    around = node.value if isinstance(node, ast.AnnAssign) else node.parent
    default = keyword(around, "server_default") if isinstance(around, ast.Call) else None
    return default is not None and any(
        isinstance(each, ast.Constant) and str(each.value).strip("'") == value
        for each in ast.walk(default)
    )


def _typed(column: ast.AnnAssign, owner: ast.ClassDef, made: str) -> str:
    """An annotated column with a type, what else it says kept."""
    written = column.value if isinstance(column.value, ast.Call) else None
    given = [ast.unparse(each) for each in (written.args if written else ())]
    words = [
        f"{each.arg}={ast.unparse(each.value)}" for each in (written.keywords if written else ())
    ]
    head = f"{ast.unparse(column.target)}: {ast.unparse(column.annotation)} ="
    if any(each.arg == "table" for each in owner.keywords):
        if column.value is not None and written is None:
            words.insert(0, f"default={ast.unparse(column.value)}")
        return f"{head} Field({', '.join([*given, *words, f'sa_type={made}'])})"
    named = 1 if written and written.args and isinstance(written.args[0], ast.Constant) else 0
    return f"{head} mapped_column({', '.join([*given[:named], made, *given[named:], *words])})"


def _stored(pair: tuple[str, str]) -> str:
    return f"the database holds the name {pair[0]}, not the value {pair[1]!r}"


def _says_names(node: ast.AST, name: str | None, module: Module) -> bool:
    """Whether the column's own default shows that names are meant."""
    around = node if isinstance(node, ast.AnnAssign) else node.parent
    default = keyword(around, "server_default") if isinstance(around, ast.Call) else None
    if isinstance(around, ast.AnnAssign) and isinstance(around.value, ast.Call):
        default = keyword(around.value, "server_default")
    if default is None:
        return False
    inner = default.args[0] if isinstance(default, ast.Call) and default.args else default
    if isinstance(inner, ast.Attribute):
        return inner.attr == "name"
    return isinstance(inner, ast.Constant) and str(inner.value).strip("'") in members(module, name)


def _has_map(module: Module, owner: ast.ClassDef) -> bool:
    """Whether a base of a class gives types of its own to annotations, or may do so."""
    found = lineage(module, owner)
    if found.unknown:
        return True
    return any(
        assigned(definition, word) is not None
        for _, definition in found.classes
        for word in ("type_annotation_map", "registry")
    )


@check(" is None", " is not None")
def fixes_by_ruff(module: Module) -> Iterator[Report]:
    """`is None` of a column in a query: Python answers before the database is asked."""
    for node in module.all(ast.Compare):
        call = node.parent
        if not isinstance(call, ast.Call) or node.slot != "args" or len(node.ops) != 1:
            continue
        none = isinstance(node.comparators[0], ast.Constant) and node.comparators[0].value is None
        if not none or not isinstance(node.ops[0], ast.Is | ast.IsNot):
            continue
        function = getattr(call.func, "attr", "")
        named = module.name(call.func) in ("sqlalchemy.and_", "sqlalchemy.or_")
        column = node.left
        if not (named or function in ("where", "filter", "having")):
            continue
        if isinstance(column, ast.Attribute) and _is_mapped(module, column.value):
            turned = "is_not" if isinstance(node.ops[0], ast.IsNot) else "is_"
            fate = "every" if turned == "is_not" else "no"
            yield Report(
                node,
                f"Python compares {ast.unparse(column)} itself, so this holds for {fate} row",
                f"{ast.unparse(column)}.{turned}(None)",
            )


def _is_mapped(module: Module, node: ast.expr) -> bool:
    found = module.project.definition(module.name(node))
    if not found or not isinstance(found[1], ast.ClassDef):
        return False
    table = any(each.arg == "table" for each in found[1].keywords)
    return table or assigned(found[1], "__tablename__") is not None
