"""Engines of SQLAlchemy and pools of asyncpg: where they are made, and what holds them."""

import ast
import re
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, class_of, function_of, keyword, parents, spreads
from project.values import FACTORY, SESSION

from subjects.distributions import is_script, serves
from subjects.occasions import (
    is_own_field,
    opens_for_requests,
    request_function,
    runs_once,
    shares,
    uses,
)
from subjects.sqltexts import written

MAKE_ENGINE = "sqlalchemy.ext.asyncio.create_async_engine"
MAKE_POOL = "asyncpg.create_pool"
POOL = "asyncpg.Pool"
TIMEOUTS = {"asyncio.timeout", "asyncio.timeout_at", "anyio.fail_after", "anyio.move_on_after"}
TIMEOUTS |= {"async_timeout.timeout", "async_timeout.timeout_at"}
FOR_TESTS = re.compile(r"(?:^|_)test(?:s|ing)?(?:_|$)", re.IGNORECASE)
OTHERS = re.compile(
    r"redis|thread|process|executor|worker|http|mysql|mongo|amqp|rabbit|channel|arq|psycopg|browser"
    r"|proxy|session|socket|memory|task|job|lock"
)
WAITS = {"asyncio.wait_for", "asyncio.wait"}


def engines_per_call(module: Module) -> Iterator[tuple[ast.Call, str, bool]]:
    """Engines and pools made for each request or call: the call, the word for it, whether sure."""
    for call in module.calls(MAKE_ENGINE, MAKE_POOL):
        served = request_function(module, call)
        function = function_of(call)
        if not isinstance(function, FUNCTIONS) or _pools_nothing(call):
            continue
        often = "request" if served else "call"
        if _of_instance(call, served):
            yield call, often, True
            continue
        if _is_returned(module, call) and opens_for_requests(module, function):
            yield call, "request", True
            continue
        if _is_stored(module, call) or (runs_once(module, call) and not _of_session(module, call)):
            continue
        if served:
            yield call, often, True
        elif is_script(module):
            continue
        elif _of_session(module, call):
            yield call, often, True
        elif _stays(module, call, function):
            yield call, often, _leaks(module, call, function) and serves(module)


def _pools_nothing(call: ast.Call) -> bool:
    named = keyword(call, "poolclass")
    return named is not None and "Queue" not in ast.unparse(named)


def _is_stored(module: Module, call: ast.Call) -> bool:
    """Whether it is assigned to something that outlives the function."""
    holder = call.parent.parent if isinstance(call.parent, ast.Await) else call.parent
    if isinstance(holder, ast.Assign | ast.AnnAssign | ast.NamedExpr):
        targets = holder.targets if isinstance(holder, ast.Assign) else [holder.target]
        names = {each.id for each in targets if isinstance(each, ast.Name)}
        function = function_of(call)
        return len(names) < len(targets) or any(
            shares(module, function, each) or _kept(function, each) for each in names
        )
    return False


def _is_returned(module: Module, call: ast.Call) -> bool:
    """Whether a factory that is made of it on the spot is what the function returns."""
    holder = call.parent.parent if isinstance(call.parent, ast.keyword) else call.parent
    return _makes_sessions(module, holder) and isinstance(holder.parent, ast.Return)


def _of_instance(call: ast.Call, served: ast.AST | None) -> bool:
    holder = call.parent
    return isinstance(holder, ast.Assign) and is_own_field(holder.targets[0], served)


def _kept(function: ast.AST, name: str) -> bool:
    return any(
        isinstance(use.parent, ast.Assign) and not isinstance(use.parent.targets[0], ast.Name)
        for use in uses(function, name)
    )


def _of_session(module: Module, call: ast.Call) -> bool:
    """Whether a session is made of the engine on the spot."""
    holder = call.parent.parent if isinstance(call.parent, ast.keyword) else call.parent
    return isinstance(holder, ast.Call) and module.name(holder.func) == SESSION


def _stays(module: Module, call: ast.Call, function: ast.AST) -> bool:
    """Whether the function makes, uses and drops it: it is not returned, and nothing holds it."""
    if isinstance(call.parent, ast.withitem):
        return True
    name = _target(call)
    if name is None or not uses(function, name):
        return False
    return all(_makes_sessions(module, each) for each in _handed(function, name))


def _leaks(module: Module, call: ast.Call, function: ast.AST) -> bool:
    """Whether sessions use it and nothing disposes of it."""
    name = _target(call)
    if name is None or not any(_handed(function, name)):
        return False
    methods = {getattr(use.parent, "attr", "") for use in uses(function, name)}
    return "dispose" not in methods


def _target(call: ast.Call) -> str | None:
    holder = call.parent.parent if isinstance(call.parent, ast.Await) else call.parent
    target = holder.targets[0] if isinstance(holder, ast.Assign) else None
    return target.id if isinstance(target, ast.Name) else None


def _handed(function: ast.AST, name: str) -> list[ast.AST]:
    """What a name is given to, where it is not asked for an attribute."""
    return [
        use.parent.parent if isinstance(use.parent, ast.keyword) else use.parent
        for use in uses(function, name)
        if not isinstance(use.parent, ast.Attribute)
    ]


def _makes_sessions(module: Module, node: ast.AST) -> bool:
    makers = (FACTORY, SESSION, "sqlalchemy.orm.sessionmaker")
    return isinstance(node, ast.Call) and module.name(node.func) in makers


def settings(module: Module, name: str) -> Iterator[ast.expr]:
    """The values given under a name: by a keyword, a key of a dict, or `options[name] = value`."""
    for each in module.all(ast.keyword):
        if each.arg == name:
            yield each.value
    for node in module.all(ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == name:
                yield value
    for node in module.all(ast.Assign):
        target = node.targets[0]
        key = target.slice if isinstance(target, ast.Subscript) else None
        if isinstance(key, ast.Constant) and key.value == name:
            yield node.value


def hook(module: Module, value: ast.expr | None) -> Iterator[str]:
    """The SQL that a function given to a pool executes, as far as it is plain text."""
    body = _hooked(module, value)
    for each in ast.walk(body) if body is not None else ():
        if isinstance(each, ast.Call) and getattr(each.func, "attr", "") == "execute":
            text = each.args[0] if len(each.args) == 1 else None
            if isinstance(text, ast.Constant | ast.JoinedStr):
                yield from written(text).split(";")


def _hooked(module: Module, value: ast.expr | None) -> ast.AST | None:
    if isinstance(value, ast.Lambda):
        return value
    if isinstance(value, ast.Attribute) and getattr(value.value, "id", "") in ("self", "cls"):
        owner = class_of(value)
        methods = (each for each in owner.body if isinstance(each, FUNCTIONS)) if owner else ()
        return next((each for each in methods if each.name == value.attr), None)
    found = module.project.definition(module.name(value)) if value is not None else None
    return found[1] if found else None


def bound_of_pool(module: Module, node: ast.expr) -> bool:
    """Whether a name holds a connection that a pool handed out."""
    function = function_of(node)
    if not isinstance(node, ast.Name) or function is None:
        return False
    for binding in module.bindings(function).get(node.id, ()):
        holder = binding.parent
        source = getattr(holder, "context_expr", None) or getattr(holder, "value", None)
        source = source.value if isinstance(source, ast.Await) else source
        if isinstance(source, ast.Call) and getattr(source.func, "attr", "") == "acquire":
            return True
    return False


def pool_calls(module: Module, *names: str) -> Iterator[ast.Call]:
    """The calls of these methods on pools of asyncpg: by class, or by name beside asyncpg."""
    yield from module.methods(POOL, *names)
    here = _speaks_of_asyncpg(module)
    for call in module.all(ast.Call):
        if isinstance(call.func, ast.Attribute) and call.func.attr in names:
            owner = call.func.value
            named = getattr(owner, "attr", getattr(owner, "id", "")).lower()
            waits = isinstance(call.parent, ast.Await | ast.withitem | ast.Call)
            mine = named.endswith("pool") and not OTHERS.search(named)
            unknown = mine and waits and module.value(owner) is None
            if unknown and (here or _from_asyncpg(module, owner)):
                yield call


def _speaks_of_asyncpg(module: Module) -> bool:
    return module.holds(b"import asyncpg") or module.holds(b"from asyncpg")


def _from_asyncpg(module: Module, node: ast.expr) -> bool:
    """Whether a name holds what a function of a module that uses asyncpg returned."""
    function = function_of(node)
    bound = module.bindings(function).get(getattr(node, "id", ""), []) if function else []
    source = getattr(bound[0].parent, "value", None) if len(bound) == 1 else None
    source = source.value if isinstance(source, ast.Await) else source
    found = isinstance(source, ast.Call) and module.project.definition(module.name(source.func))
    return bool(found) and _speaks_of_asyncpg(found[0])


def bounded(module: Module, call: ast.Call) -> bool:
    """Whether `wait_for` or a block with a timeout ends the wait."""
    for above in parents(call):
        if isinstance(above, FUNCTIONS):
            return False
        if isinstance(above, ast.Call) and module.name(above.func) in WAITS:
            return True
        items = above.items if isinstance(above, ast.AsyncWith | ast.With) else []
        if any(_ends(module, item.context_expr) for item in items):
            return True
    return False


def _ends(module: Module, node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and module.name(node.func) in TIMEOUTS


def is_sqlite(module: Module, call: ast.Call) -> bool:
    """Whether an engine is one of SQLite, by its address or by what is written around it."""
    if call.args and _constant(module, call.args[0]).startswith("sqlite"):
        return True
    if "sqlite" in ast.unparse(call).lower() or "check_same_thread" in ast.unparse(call):
        return True
    url = call.args[0] if call.args else None
    if isinstance(url, ast.Attribute) and _may_be_sqlite(module, url):
        return True
    below: ast.AST = call
    for above in parents(call):
        if isinstance(above, FUNCTIONS) and "sqlite" in above.name.lower():
            return True
        if isinstance(above, ast.If) and below.slot == "body":
            test = ast.unparse(above.test).lower()
            if "sqlite" in test and "not" not in test and "!=" not in test:
                return True
        below = above
    return False


def _may_be_sqlite(module: Module, url: ast.Attribute) -> bool:
    """Whether an attribute that is an address is set to one of SQLite, or asked whether it is."""
    for each in module.all(ast.Assign, ast.AnnAssign):
        target = each.targets[0] if isinstance(each, ast.Assign) else each.target
        text = each.value if isinstance(each.value, ast.Constant | ast.JoinedStr) else None
        mine = getattr(target, "attr", getattr(target, "id", "")) == url.attr
        if mine and text is not None and written(text).startswith("sqlite"):
            return True
    asked = [each for each in module.all(ast.Compare) if "sqlite" in ast.unparse(each.left)]
    return any(ast.unparse(each.comparators[0]) == ast.unparse(url) for each in asked)


def _constant(module: Module, node: ast.expr) -> str:
    """The text that a name at the top of the module holds, when it is bound once."""
    bound = module.bindings(module.tree).get(getattr(node, "id", ""), [])
    value = getattr(bound[0].parent, "value", None) if len(bound) == 1 else None
    return written(value) if isinstance(value, ast.Constant | ast.JoinedStr) else ""


def unbounded_engines(module: Module) -> Iterator[tuple[ast.Call, bool]]:
    """Engines whose `pool_timeout` is the default one, and whether it is sure that they serve."""
    if is_script(module):
        return
    per_call = {call for call, _, _ in engines_per_call(module)}
    for call in module.calls(MAKE_ENGINE):
        if call in per_call or spreads(call) or _pools_nothing(call) or is_sqlite(module, call):
            continue
        if keyword(call, "pool_timeout") is not None or keyword(call, "pool") is not None:
            continue
        sized = any(keyword(call, word) for word in ("pool_size", "max_overflow", "pool_recycle"))
        function = function_of(call)
        served = function is None or module.project.is_lifespan(function, module)
        sure = sized or served or _is_stored(module, call)
        yield call, bool(sure) and not _is_for_tests(call)


def _is_for_tests(call: ast.Call) -> bool:
    holder = call.parent
    target = getattr(holder, "targets", [getattr(holder, "target", None)])[0]
    return bool(FOR_TESTS.search(getattr(target, "id", getattr(target, "attr", ""))))
