"""AsyncSessions in a module: which expressions are one, their blocks, what runs on them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from project.module import FUNCTIONS, Module, arguments, function_of, inside, own, parents
from project.values import FACTORY, SESSION

# Methods that send a statement, and so need a connection.
STATEMENTS = {
    *("execute", "scalar", "scalars", "get", "get_one", "refresh", "merge", "delete", "flush"),
    *("stream", "stream_scalars"),
}
ERRORS = {
    f"sqlalchemy.exc.{name}"
    for name in (
        *("IntegrityError", "DBAPIError", "SQLAlchemyError", "StatementError", "DatabaseError"),
        *("OperationalError", "ProgrammingError", "DataError"),
    )
}
ENDS = (ast.Return, ast.Raise, ast.Continue, ast.Break)
_KNOWN: WeakKeyDictionary[Module, dict[tuple[ast.AST | None, str], bool]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Block:
    """An `async with` that opens a session or begins its transaction."""

    node: ast.AsyncWith
    name: str  # of the session, as written inside
    opener: ast.expr
    begins: bool  # its end commits
    owns: bool  # its end closes the session


def text(node: ast.AST) -> str:
    """A name or `a.b.c` as it is written; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def is_session(module: Module, node: ast.AST) -> bool:
    """Whether an expression is an AsyncSession."""
    written = text(node)
    if not written:
        return False
    known = _KNOWN.setdefault(module, {})
    key = function_of(node), written
    if key not in known:
        kind = module.value(node)
        known[key] = kind == SESSION or module.project.is_a(kind, SESSION)
    return known[key]


def session_of(module: Module, call: ast.AST, names: set[str] = STATEMENTS) -> str:
    """The session on which a call runs one of these methods, as it is written, or nothing."""
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return ""
    if call.func.attr not in names or not is_session(module, call.func.value):
        return ""
    return text(call.func.value)


def calls_on(module: Module, node: ast.AST, session: str, names: set[str]) -> list[ast.Call]:
    """The calls of these methods on one session, below a node, in order."""
    return [call for call in inside(node, ast.Call) if session_of(module, call, names) == session]


def on_sessions(module: Module, *names: str) -> Iterator[ast.Call]:
    """The calls of these methods on AsyncSessions, in order."""
    for call in module.all(ast.Call):
        if session_of(module, call, set(names)):
            yield call


def blocks(module: Module) -> Iterator[Block]:
    """The blocks of a module that open a session or begin its transaction."""
    for node in module.all(ast.AsyncWith):
        begun = {
            session_of(module, item.context_expr, {"begin"})
            for item in node.items
            if isinstance(item.context_expr, ast.Call)
        }
        for item in node.items:
            opener = item.context_expr
            name = text(item.optional_vars) if item.optional_vars else ""
            if name and module.project.entered(module, opener) == SESSION:
                begins = getattr(getattr(opener, "func", None), "attr", "") == "begin"
                yield Block(node, name, opener, begins or name in begun, True)
                begun.discard(name)
        for name in begun - {""}:
            opener = next(
                item.context_expr
                for item in node.items
                if session_of(module, item.context_expr, {"begin"}) == name
            )
            yield Block(node, name, opener, True, False)


def factory(module: Module, opener: ast.expr) -> str:
    """What makes the sessions of a block: the factory as it is written, or nothing."""
    if not isinstance(opener, ast.Call):
        return ""
    made = opener.func
    if isinstance(made, ast.Attribute) and made.attr == "begin":
        made = made.value
    return text(made) if module.value(made) == FACTORY or module.name(made) else ""


def is_given(module: Module, node: ast.AST, session: str) -> bool:
    """Whether a function got its session from outside: a parameter, or an attribute of one."""
    function = function_of(node)
    first = session.partition(".")[0]
    bound = module.bindings(function).get(first, []) if isinstance(function, FUNCTIONS) else []
    return bool(bound) and all(isinstance(each, ast.arg) for each in bound)


def goes_on_after(module: Module, call: ast.Call, session: str) -> bool:
    """Whether more may happen in the transaction: the caller's work, or a loop's next round."""
    if is_given(module, call, session):
        return True
    for above in parents(call):
        if isinstance(above, ast.AsyncWith) and any(
            item.optional_vars is not None and text(item.optional_vars) == session
            for item in above.items
        ):
            return loop_between(call, above) is not None
    return False


def following(statement: ast.stmt) -> Iterator[ast.stmt]:
    """The statements of the same function that run after one, unless it leaves; loops run once."""
    node: ast.AST = statement
    while not isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Module)):
        above = node.parent
        beside = getattr(above, node.slot)
        if isinstance(beside, list):
            if isinstance(above, ast.Try) and node.slot == "body":
                beside = [*beside, *above.orelse, *above.finalbody]
            for each in beside[beside.index(node) + 1 :]:
                if not isinstance(each, ast.stmt):
                    break
                yield each
                if leaves([each]):
                    return
        node = above


def leaves(body: list[ast.stmt]) -> bool:
    """Whether control never comes to the end of these statements."""
    last = body[-1] if body else None
    if isinstance(last, ast.If):
        return leaves(last.body) and leaves(last.orelse)
    if isinstance(last, ast.With | ast.AsyncWith):
        return leaves(last.body)
    if isinstance(last, ast.Try):
        ways = [last.orelse or last.body, *(each.body for each in last.handlers)]
        return leaves(last.finalbody) or all(map(leaves, ways))
    return isinstance(last, ENDS)


def loop_between(node: ast.AST, outer: ast.AST) -> ast.AST | None:
    """The innermost loop around a node and within an outer node, or None."""
    for above in parents(node):
        if above is outer:
            return None
        if isinstance(above, ast.For | ast.AsyncFor | ast.While):
            return above
    return None


def savepoint_between(module: Module, node: ast.AST, outer: ast.AST | None) -> bool:
    """Whether a `begin_nested()` block stands around a node and within an outer node."""
    for above in parents(node):
        if above is outer or isinstance(above, FUNCTIONS):
            return False
        if isinstance(above, ast.AsyncWith) and any(
            isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "begin_nested"
            for item in above.items
            for call in ast.walk(item.context_expr)
        ):
            return True
    return False


def caught(module: Module, handler: ast.ExceptHandler) -> set[str]:
    """The names of the exceptions a handler catches."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {name for each in kinds if each is not None and (name := module.name(each))}


def goes_on(module: Module, handler: ast.ExceptHandler) -> bool:
    """Whether a handler ends well without a rollback: nothing in it raises, as far as it shows."""
    words = ("rollback", "raise", "abort", "fail", "exit", "close", "expunge", "invalidate")
    for each in inside(handler):
        if isinstance(each, ast.Raise):
            return False
        if isinstance(each, ast.Call):
            called = getattr(each.func, "attr", getattr(each.func, "id", "")).lower()
            if any(word in called for word in words) or _may_raise(module, each):
                return False
    return True


def _may_raise(module: Module, call: ast.Call) -> bool:
    """Whether a function of the project raises itself, or never returns by its annotation."""
    found = module.project.definition(module.name(call.func))
    if found is None and isinstance(call.func, ast.Attribute):
        owner = module.value(call.func.value)
        found = module.project.definition(f"{owner}.{call.func.attr}") if owner else None
        if found is None and text(call.func.value) in ("self", "cls"):
            return True  # a method that is inherited, or not seen
    if found is None or not isinstance(found[1], FUNCTIONS):
        return False
    home, function = found
    returns = home.name(function.returns) or ""
    return returns.endswith((".NoReturn", ".Never")) or any(
        isinstance(each, ast.Raise) for each in own(function)
    )


def swallowed(module: Module, names: set[str]) -> Iterator[tuple[ast.Call, str]]:
    """Statements whose database error a handler drops without a savepoint, and their session."""
    for node in module.all(ast.Try):
        handlers = [each for each in node.handlers if caught(module, each) & ERRORS]
        if not handlers or not all(goes_on(module, each) for each in handlers):
            continue
        after = [*node.finalbody, *following(node)]
        for statement in node.body:
            for call in inside(ast.Module([statement], []), ast.Call):
                session = session_of(module, call, names)
                if (
                    session
                    and not savepoint_between(module, call, None)
                    and not any(calls_on(module, each, session, {"rollback"}) for each in after)
                ):
                    yield call, session


def used_after(module: Module, block: Block) -> Iterator[ast.Call]:
    """The statements on a session after its block, as long as nothing else gives it that name."""
    function = function_of(block.node)
    if not block.owns or not isinstance(function, FUNCTIONS) or leaves([block.node]):
        return
    bound = module.bindings(function).get(block.name, [])
    if not all(isinstance(each.parent, ast.withitem) for each in bound):
        return
    again = {id(each.parent.parent) for each in bound}
    for statement in following(block.node):
        if any(id(each) in again for each in [statement, *inside(statement)]):
            return
        yield from calls_on(module, ast.Module([statement], []), block.name, STATEMENTS)


def parameter(function: ast.AST, call: ast.Call, value: str, bound: bool) -> str | None:
    """The parameter under which a function gets a value that a call passes."""
    args = arguments(function)[1 if bound else 0 :]
    for position, each in enumerate(call.args):
        if text(each) == value:
            return args[position].arg if position < len(args) else None
    return next((each.arg for each in call.keywords if text(each.value) == value), None)
