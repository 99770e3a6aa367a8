"""Rows that are written in bulk, or one by one."""

import ast
import re
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, function_of, own, parents
from project.values import SESSION

from subjects.revisions import runs_elsewhere

INSERTS = {
    f"{home}.insert"
    for home in (
        "sqlalchemy",
        "sqlalchemy.sql",
        "sqlalchemy.sql.expression",
        "sqlalchemy.dialects.postgresql",
        "sqlmodel",
    )
}
SESSIONS = (SESSION, "sqlalchemy.orm.Session", "sqlmodel.Session")
_LISTS = re.compile(r"^(?:\w+\.)?(?:list|List|Sequence|Iterable|Collection)\b")
_PART = re.compile(r"chunk|batch|page|slice|part", re.IGNORECASE)
_OWN = re.compile(r"seed|preset|builtin|built_in|bootstrap|fixture|default")
_IMPORT = re.compile(r"(?:^|_)(?:import|ingest|load)(?:_|$)")
_FEW = 5  # values in a row, below which a statement holds more than 6,500 rows
_LINKS = re.compile(r"pivot|assoc|relation|member|link")
_SESSION = re.compile(r"(?:^|[._])(?:session|db)$")


def value_lists(module: Module) -> Iterator[tuple[ast.expr, ast.expr]]:
    """`insert(X).values(rows)` with a list: the insert, the list."""
    for call in module.all(ast.Call):
        if getattr(call.func, "attr", "") != "values" or call.keywords or len(call.args) != 1:
            continue
        insert = call.func.value
        if not isinstance(insert, ast.Call) or module.name(insert.func) not in INSERTS:
            continue
        if runs_elsewhere(call):
            continue
        rows = call.args[0]
        if _is_unbounded_list(module, rows) and not _has_expressions(module, rows):
            yield insert, rows


def _is_unbounded_list(module: Module, node: ast.expr) -> bool:
    """Whether an expression is a list whose length the source does not bound."""
    if isinstance(node, ast.ListComp):
        return not any(_is_bounded(module, each.iter) for each in node.generators)
    if isinstance(node, ast.Call) and module.name(node.func) == "builtins.list" and node.args:
        return not _is_bounded(module, node.args[0])
    if not isinstance(node, ast.Name) or _PART.search(node.id):
        return False
    function = function_of(node)
    bound = module.bindings(function).get(node.id, []) if function is not None else []
    if len(bound) != 1:
        return False
    if isinstance(bound[0], ast.arg):
        written = ast.unparse(bound[0].annotation) if bound[0].annotation else ""
        return bool(_LISTS.match(written))
    value = getattr(bound[0].parent, "value", None)
    if isinstance(value, ast.List) and not value.elts:
        return _grows(function, node.id)
    return isinstance(value, ast.ListComp) and _is_unbounded_list(module, value)


def made(module: Module, node: ast.expr) -> ast.expr:
    """A list, or what the variable that holds it is set to."""
    function = function_of(node)
    if isinstance(node, ast.Name) and function is not None:
        bound = module.bindings(function).get(node.id, [])
        return (getattr(bound[0].parent, "value", None) or node) if len(bound) == 1 else node
    return node


def _has_expressions(module: Module, node: ast.expr) -> bool:
    """Whether a row holds SQL, which only `values()` takes: `{"at": func.now()}`."""
    return any(
        (module.name(each.func) or "").startswith(("sqlalchemy.func.", "sqlalchemy.text"))
        for each in ast.walk(made(module, node))
        if isinstance(each, ast.Call)
    )


def is_narrow(module: Module, node: ast.expr) -> bool:
    """Whether nothing says that a list can be so long: it is made here, of what may be few.

    Long are rows that a caller made, whole objects that a caller dumped, and what a function
    that says so imports; links of one object, a program's own rows and a helper's are not.
    """
    function = function_of(node)
    named = getattr(function, "name", "")
    ours = _OWN.search(module.path) or _OWN.search(named) or named.startswith("_")
    if ours or _LINKS.search(named):
        return True
    listed = made(module, node)
    if isinstance(listed, ast.ListComp) and isinstance(listed.elt, ast.Dict):
        if len(listed.elt.keys) < _FEW:
            return True
    elif isinstance(listed, ast.Name) or _dumps(listed):
        return False
    return isinstance(listed, ast.Call) or not _IMPORT.search(named)


def _dumps(rows: ast.expr) -> bool:
    """Whether each row is a whole object: `[item.model_dump() for item in items]`."""
    dumped = isinstance(rows, ast.ListComp) and isinstance(rows.elt, ast.Call)
    return dumped and getattr(rows.elt.func, "attr", "") in ("model_dump", "dict")


def _grows(function: ast.AST, name: str) -> bool:
    """Whether a list is appended to in a loop."""
    for each in own(function):
        grown = isinstance(each, ast.Attribute) and each.attr in ("append", "extend")
        if grown and getattr(each.value, "id", None) == name:
            loops = [one for one in parents(each) if isinstance(one, ast.For | ast.AsyncFor)]
            if loops and not isinstance(loops[0].iter, ast.Tuple | ast.List):
                return True
    return False


def _is_bounded(module: Module, node: ast.expr) -> bool:
    """Whether what is iterated is written out, a slice, a class's members, or one batch of many."""
    if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict | ast.Subscript):
        return True
    if isinstance(node, ast.Call):
        name = module.name(node.func)
        inner = node.args[0] if node.args else None
        if name in ("builtins.enumerate", "builtins.zip", "builtins.sorted") and inner is not None:
            return _is_bounded(module, inner)
        return name == "builtins.range" and all(
            isinstance(each, ast.Constant) for each in node.args
        )
    if not isinstance(node, ast.Name):
        return False
    if _PART.search(node.id) or node.id.lstrip("_")[:1].isupper():
        return True
    function = function_of(node)
    bound = module.bindings(function).get(node.id, []) if function is not None else []
    if not bound:
        return False
    held = bound[0].parent
    if isinstance(held, ast.For | ast.AsyncFor):
        return True
    return isinstance(getattr(held, "value", None), ast.Subscript | ast.List | ast.Tuple)


def flushes(module: Module) -> Iterator[tuple[ast.Call, ast.Call, bool]]:
    """A flush for each object that a loop adds: the flush, the add, whether it needs the row."""
    for call in module.all(ast.Call):
        if getattr(call.func, "attr", "") != "flush" or not _is_session(module, call.func.value):
            continue
        loop, sole = _loop_of(call)
        if loop is None or not sole:
            continue
        owner = ast.unparse(call.func.value)
        added = [
            each
            for each in ast.walk(loop)
            if isinstance(each, ast.Call)
            and isinstance(each.func, ast.Attribute)
            and each.func.attr == "add"
            and ast.unparse(each.func.value) == owner
            and _loop_of(each)[0] is loop
        ]
        every = [
            each
            for each in ast.walk(loop)
            if isinstance(each, ast.Call) and getattr(each.func, "attr", "") in ("add", "add_all")
        ]
        if len(added) == len(every) == 1 and added[0].args and added[0].lineno <= call.lineno:
            yield call, added[0], _is_read(loop, added[0].args[0], call)


def uneven(module: Module) -> Iterator[tuple[ast.Call, ast.expr]]:
    """Rows with keys of their own each, for an insert into a table: the call, the rows."""
    for call in module.all(ast.Call):
        if getattr(call.func, "attr", "") != "execute" or len(call.args) < 2:
            continue
        insert = call.args[0]
        into = insert.args[0] if isinstance(insert, ast.Call) and insert.args else None
        core = isinstance(into, ast.Attribute) and into.attr == "__table__"
        if core and module.name(insert.func) in INSERTS and _varies(made(module, call.args[1])):
            yield call, call.args[1]


def _varies(rows: ast.expr) -> bool:
    """Whether rows are dumped without what is unset or None."""
    dumps = isinstance(rows, ast.ListComp) and isinstance(rows.elt, ast.Call)
    return dumps and any(
        each.arg in ("exclude_unset", "exclude_none", "exclude_defaults")
        and getattr(each.value, "value", True)
        for each in rows.elt.keywords
    )


def _is_session(module: Module, node: ast.expr) -> bool:
    kind = module.value(node)
    return kind in SESSIONS or (kind is None and bool(_SESSION.search(ast.unparse(node))))


def _loop_of(node: ast.AST) -> tuple[ast.AST | None, bool]:
    """The loop a node runs in each time, and whether nothing but the loop decides that it runs."""
    for above in parents(node):
        if isinstance(above, ast.For | ast.AsyncFor):
            return above, not _is_short(above.iter)
        if isinstance(above, ast.While):
            return None, False
        if isinstance(above, ast.If | ast.Try | ast.With | ast.AsyncWith | ast.Match):
            return None, False
        if isinstance(above, (*FUNCTIONS, ast.Lambda)):
            return None, False
    return None, False


def _is_short(node: ast.expr) -> bool:
    """Whether a loop runs over what is written out, or a class or constant of the program."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("range", "enumerate"):
        return all(isinstance(each, ast.Constant) or _is_short(each) for each in node.args)
    named = node.id if isinstance(node, ast.Name) else ""
    return isinstance(node, ast.List | ast.Tuple | ast.Set) or named.lstrip("_")[:1].isupper()


def _is_read(loop: ast.AST, node: ast.expr, flush: ast.Call) -> bool:
    """Whether the loop reads the added object after the flush, for its key for example."""
    if not isinstance(node, ast.Name):
        return False
    return any(
        isinstance(each, ast.Name)
        and each.id == node.id
        and isinstance(each.ctx, ast.Load)
        and each.lineno > flush.lineno
        for each in ast.walk(loop)
    )


def early_copies(module: Module) -> Iterator[ast.Call]:
    """COPY by the driver on a connection whose transaction no statement has begun."""
    for call in module.all(ast.Call):
        if getattr(call.func, "attr", "") not in ("copy_records_to_table", "copy_to_table"):
            continue
        function = function_of(call)
        if not isinstance(function, FUNCTIONS):
            continue
        calls = [
            each
            for each in own(function)
            if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute)
        ]
        raw = [each for each in calls if each.func.attr == "get_raw_connection"]
        begun = ("execute", "exec_driver_sql", "scalar", "scalars", "flush", "stream", "get")
        if raw and not any(each.func.attr in begun and each.lineno < call.lineno for each in calls):
            yield call
