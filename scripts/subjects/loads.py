"""Objects that a coroutine gets from its session, and what it reads of them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from project.module import (
    COMPREHENSIONS,
    FUNCTIONS,
    Module,
    function_of,
    own,
    parents,
    statement_of,
)

from subjects.mappings import Relationship, relationship
from subjects.selects import argument, built_from, head
from subjects.sessions import STATEMENTS, session_of

_OPTIONS = {"options", "join", "outerjoin", "from_statement", "execution_options", "join_from"}
_LOADS = {*STATEMENTS, "exec"}
_ONE = {"first", "one", "one_or_none", "scalar_one", "scalar_one_or_none", "scalar"}


@dataclass(frozen=True)
class Read:
    """A relationship that is read of an object: where, of which variable, and what it is."""

    node: ast.Attribute
    variable: str
    session: str
    found: Relationship
    owner: str = ""
    many: bool = False  # the variable stands for each of many objects

    @property
    def cure(self) -> str:
        """What loads it on purpose: an option for many objects, a refresh for one."""
        if not self.many:
            return f"await {self.session}.refresh({self.variable}, ['{self.node.attr}']) before"
        loader = "joinedload" if self.found.many is False else "selectinload"
        return f".options({loader}({self.owner}.{self.node.attr})) on the query of its rows"


def implicit(module: Module) -> Iterator[Read]:
    """Relationships that are read in a coroutine although nothing has loaded them."""
    for function in module.all(ast.AsyncFunctionDef):
        for name, owner, session, bound in loaded_objects(module, function):
            yield from _reads(module, function, name, owner, session, bound)
    for comprehension in module.all(*COMPREHENSIONS):
        function, over = function_of(comprehension), comprehension.generators[0]
        if isinstance(function, ast.AsyncFunctionDef) and isinstance(over.target, ast.Name):
            value = over.iter
            value = _once(module, function, value.id) if isinstance(value, ast.Name) else value
            if loaded := _loaded(module, value, True):
                yield from _reads(module, function, over.target.id, *loaded, over.target)


def loaded_objects(module: Module, function: ast.AST) -> Iterator[tuple[str, str, str, ast.Name]]:
    """Each variable that is bound once, to an object or to each of many: its class, the session."""
    for name, bound in module.bindings(function).items():
        if len(bound) != 1 or not isinstance(bound[0], ast.Name):
            continue
        holder, many = bound[0].parent, False
        if isinstance(holder, ast.For | ast.AsyncFor) and bound[0].slot == "target":
            value, many = holder.iter, True
        elif isinstance(holder, ast.Assign | ast.NamedExpr) and bound[0].slot != "value":
            value = holder.value
        else:
            continue
        if many and isinstance(value, ast.Name):
            value = _once(module, function, value.id)
        if loaded := _loaded(module, value, many):
            yield name, *loaded, bound[0]


def _once(module: Module, function: ast.AST, name: str) -> ast.AST | None:
    bound = module.bindings(function).get(name, [])
    plain = len(bound) == 1 and isinstance(bound[0].parent, ast.Assign)
    return bound[0].parent.value if plain else None


def _result(module: Module, node: ast.Name) -> ast.AST | None:
    """What a result was last set to: `result = await session.execute(...)`, in the same block."""
    function, use = function_of(node), statement_of(node)
    held = module.bindings(function).get(node.id, []) if function is not None else []
    before = [each for each in held if _place(each) < _place(node)]
    if not before or (len(held) > 1 and len({_block(each) for each in (*held, use)}) > 1):
        return None
    last = max(before, key=_place)
    plain = isinstance(last.parent, ast.Assign) and isinstance(last.parent.value, ast.Await)
    return last.parent.value if plain else None


def _block(node: ast.AST) -> tuple[ast.AST, str]:
    """The list of statements a node's statement stands in."""
    statement = statement_of(node)
    return statement.parent, statement.slot


def _loaded(module: Module, node: ast.AST | None, many: bool) -> tuple[str, str] | None:
    """The class of the objects an expression gets without loader options, and the session."""
    then: list[str] = []
    while node is not None:
        if isinstance(node, ast.Await):
            node = node.value
            continue
        if isinstance(node, ast.Name) and then:
            node = _result(module, node)
            continue
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            return None
        if session := session_of(module, node, _LOADS):
            owner = _plainly_selected(module, node)
            return (owner, session) if owner and _fits(node.func.attr, then, many) else None
        then.append(node.func.attr)
        node = node.func.value
    return None


def _fits(method: str, then: list[str], many: bool) -> bool:
    """Whether what is done with a result gives an object, or an iterable of objects."""
    if method in ("get", "get_one", "scalar"):
        return not then and not many
    last = then[0] if then else ""
    if method in ("scalars", "exec", "stream_scalars"):
        return last not in _ONE if many else last in _ONE
    if method in ("execute", "stream") and "scalars" in then:
        return last not in _ONE if many else last in _ONE
    return (
        method == "execute" and not many and last in ("scalar_one", "scalar_one_or_none", "scalar")
    )


def _plainly_selected(module: Module, call: ast.Call) -> str | None:
    """The mapped class of `get(Order, key)` or `select(Order)...`, if there are no options."""
    if call.func.attr in ("get", "get_one"):
        plain = call.args and not any(each.arg in ("options", None) for each in call.keywords)
        return module.name(call.args[0]) if plain else None
    given = argument(call)
    function = function_of(call)
    statements = built_from(module, given)
    if not statements or (isinstance(given, ast.Name) and not isinstance(function, FUNCTIONS)):
        return None
    owners = set()
    for each in statements:
        first = head(each)
        names = {part.attr for part in ast.walk(each) if isinstance(part, ast.Attribute)}
        if names & _OPTIONS:
            return None
        if isinstance(first, ast.Call) and module.name(first.func) == "sqlalchemy.select":
            owners.add(module.name(first.args[0]) if len(first.args) == 1 else None)
        elif not (isinstance(given, ast.Name) and _begins_with(first, given.id)):
            return None
    return owners.pop() if len(owners) == 1 else None


def _begins_with(node: ast.AST, name: str) -> bool:
    while isinstance(node, ast.Call | ast.Attribute):
        node = node.func if isinstance(node, ast.Call) else node.value
    return isinstance(node, ast.Name) and node.id == name


def _reads(
    module: Module, function: ast.AST, name: str, owner: str, session: str, bound: ast.Name
) -> Iterator[Read]:
    known: dict[str, Relationship | None] = {}
    written = [each for each in own(function) if isinstance(each, ast.Attribute)]
    comprehension = bound.parent.parent if isinstance(bound.parent, ast.comprehension) else None
    for each in written:
        if getattr(each.value, "id", None) != name or not isinstance(each.ctx, ast.Load):
            continue
        if comprehension is not None:
            if comprehension not in parents(each):
                continue
        elif _place(each) < _place(bound) or function_of(each) is not function:
            continue
        if each.attr not in known:
            known[each.attr] = relationship(module, owner, each.attr)
        found = known[each.attr]
        if found and not found.many and mentions(function, found.target):
            continue  # a row that the session holds already is not loaded again
        if found and found.loads_on_access and not _is_loaded(function, written, name, each):
            known[each.attr] = None  # one report for a relationship
            many = bound.slot == "target" and not isinstance(bound.parent, ast.NamedExpr)
            short = owner.rpartition(":")[2].rpartition(".")[2]
            yield Read(each, name, session, found, short, many)


def mentions(function: ast.AST | None, name: str) -> bool:
    """Whether a function names a class."""
    return function is not None and any(
        isinstance(each, ast.Name) and each.id == name for each in ast.walk(function)
    )


def _is_loaded(
    function: ast.AST, written: list[ast.Attribute], name: str, read: ast.Attribute
) -> bool:
    """Whether something in the function may have loaded or set what is read."""
    for each in written:
        base = getattr(each.value, "id", "")
        if each.attr == read.attr and (base != name or not isinstance(each.ctx, ast.Load)):
            return True
        if each.attr in ("awaitable_attrs", "run_sync", "expunge") or _refreshes(each):
            return True
    return any(
        isinstance(each, ast.Await)
        and isinstance(each.value, ast.Call)
        and not _is_plain_refresh(each.value)
        and any(getattr(given, "id", "") == name for given in each.value.args)
        for each in own(function)
    )


def _refreshes(node: ast.Attribute) -> bool:
    """Whether a `refresh` names what it loads."""
    return node.attr == "refresh" and not _is_plain_refresh(node.parent)


def _is_plain_refresh(call: ast.AST) -> bool:
    """Whether a call is `session.refresh(row)`, which loads no relationship."""
    if not isinstance(call, ast.Call) or getattr(call.func, "attr", "") != "refresh":
        return False
    named = any(each.arg in ("attribute_names", None) for each in call.keywords)
    return len(call.args) == 1 and not named


def _place(node: ast.AST) -> tuple[int, int]:
    return node.lineno, node.col_offset


def created(module: Module) -> Iterator[Read]:
    """Collections of a new object that are read after its flush, though nothing has set them."""
    for function in module.all(ast.AsyncFunctionDef):
        for name, bound in module.bindings(function).items():
            made = getattr(bound[0].parent, "value", None) if len(bound) == 1 else None
            if not isinstance(made, ast.Call) or bound[0].slot != "targets":
                continue
            if any(each.arg is None for each in made.keywords) or made.args:
                continue
            owner = module.name(made.func)
            flushed = _flushed(module, function, name) if owner and ":" in owner else None
            if flushed and not _is_linked(function, name):
                given = {each.arg for each in made.keywords}
                for read in _reads(module, function, name, owner, flushed[0], bound[0]):
                    late = _place(read.node) > flushed[1]
                    if late and read.found.many and read.node.attr not in given:
                        yield read


def _is_linked(function: ast.AST, name: str) -> bool:
    """Whether another object is constructed with this one: `Line(order=order)`."""
    return any(
        isinstance(each, ast.keyword) and getattr(each.value, "id", None) == name
        for each in ast.walk(function)
    )


def _flushed(module: Module, function: ast.AST, name: str) -> tuple[str, tuple[int, int]] | None:
    """The session that a new object is added to, and where it is flushed."""
    added = ""
    for each in own(function):
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute):
            given = getattr(each.args[0], "id", None) if each.args else None
            if each.func.attr == "add" and given == name:
                added = ast.unparse(each.func.value)
            elif each.func.attr in ("flush", "commit") and added == ast.unparse(each.func.value):
                return added, _place(each)
    return None
