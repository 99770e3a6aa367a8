"""Tasks: the calls that start one, and what becomes of the task."""

import ast
from collections.abc import Iterator
from weakref import WeakKeyDictionary

from project.module import FUNCTIONS, Module, arguments, function_of, inside
from project.values import SESSION

from subjects.calls import callee

STARTS = ("asyncio.create_task", "asyncio.ensure_future")
LOOPS = {"asyncio.get_running_loop", "asyncio.get_event_loop", "asyncio.new_event_loop"}
RUNNING = LOOPS - {"asyncio.new_event_loop"}
LOOP_NAMES = {"loop", "_loop", "event_loop", "_event_loop"}
# Methods of a loop, a future or a signal that drop what their callback returns.
DROPS = {"add_signal_handler", "call_soon", "call_soon_threadsafe", "call_later", "call_at"}
GOES_ON = (ast.Await, ast.AsyncFor, ast.AsyncWith, ast.Yield)
TESTS = (ast.Compare, ast.BoolOp, ast.UnaryOp, ast.If)
ASKS = {"iscoroutine", "isawaitable", "iscoroutinefunction", "isinstance", "callable"}
_KNOWN: WeakKeyDictionary[Module, set[ast.AST]] = WeakKeyDictionary()
WAITED = (ast.Await, ast.Return, ast.Starred, ast.List, ast.Tuple, ast.For, ast.comprehension)
JOINS = (
    *("asyncio.wait_for", "asyncio.shield", "asyncio.gather", "asyncio.wait"),
    "asyncio.as_completed",
)
UPLOADS = ("fastapi.UploadFile", "starlette.datastructures.UploadFile")


def starts(module: Module) -> Iterator[tuple[ast.Call, ast.expr]]:
    """The calls that start a task which no group owns, and the expression each one runs."""
    for call in module.calls(*STARTS):
        if call.args:
            yield call, call.args[0]
    for call in module.all(ast.Call):
        named = isinstance(call.func, ast.Attribute) and call.func.attr == "create_task"
        if named and call.args and _is_loop(module, call.func.value):
            yield call, call.args[0]


def held_instead(module: Module, call: ast.Call, what: str) -> str:
    """How to start a task with an owner: on the loop that runs here, or on the one named."""
    loop = call.func.value if isinstance(call.func, ast.Attribute) else None
    if module.name(call.func) in STARTS or (loop is not None and _runs_here(module, loop)):
        return f"spawn({what})"
    task = f"{ast.unparse(call.func)}({what})"
    return f"tasks.add(task := {task}); task.add_done_callback(finished)"


def _runs_here(module: Module, loop: ast.expr) -> bool:
    if isinstance(loop, ast.Name) and (function := function_of(loop)) is not None:
        bound = module.bindings(function).get(loop.id, ())
        loop = getattr(getattr(bound[0], "parent", None), "value", None) if bound else None
    return isinstance(loop, ast.Call) and module.name(loop.func) in RUNNING


def handed(module: Module) -> Iterator[tuple[ast.Call, ast.expr]]:
    """The calls that pass work to a function of the project which starts a task of it."""
    for call in module.all(ast.Call):
        if call.args and isinstance(call.args[0], ast.Call):
            found = callee(module, call)
            if found and found[1] in _starters(found[0]):
                yield call, call.args[0]


def _starters(module: Module) -> set[ast.AST]:
    """The functions of a module that start a task of their first parameter."""
    if module not in _KNOWN:
        _KNOWN[module] = {
            function
            for call, work in starts(module)
            if isinstance(function := function_of(call), FUNCTIONS)
            and getattr(work, "id", "") == _first(function)
        }
    return _KNOWN[module]


def _first(function: ast.AST) -> str | None:
    """The name of a function's first parameter, that of a method after `self`."""
    names = [each.arg for each in function.args.args if each.arg not in ("self", "cls")]
    return names[0] if names else None


def dropped(module: Module, call: ast.Call) -> bool:
    """Whether nothing keeps the task that a call starts."""
    holder = call.parent
    work, future = call.args[0], module.name(call.func) == STARTS[1]
    if future and isinstance(work, ast.Name) and _kept(work):
        return False  # a task that is there already
    if isinstance(_whole(call), ast.Expr):
        return True
    if isinstance(holder, ast.Attribute) and holder.attr == "add_done_callback":
        return isinstance(holder.parent.parent, ast.Expr)
    if isinstance(holder, ast.Lambda) and isinstance(holder.parent, ast.Call):
        return getattr(holder.parent.func, "attr", "") in DROPS
    return _unused_local(call)


def _whole(call: ast.Call) -> ast.AST:
    """What holds a call, or the choice or list that the call is a value of."""
    holder, slot = call.parent, call.slot
    listed = isinstance(holder, ast.ListComp | ast.SetComp) and slot == "elt"
    chosen = isinstance(holder, ast.IfExp) and slot != "test"
    last = isinstance(holder, ast.BoolOp) and holder.values[-1] is call
    return holder.parent if listed or chosen or last else holder


def handed_to_loop(module: Module) -> Iterator[tuple[ast.Call, ast.expr, str]]:
    """The calls that let a loop start a task later, its work, and the call with an owner."""
    for call in module.all(ast.Call):
        if getattr(call.func, "attr", "") not in DROPS:
            continue
        for at, given in enumerate(call.args[:-1]):
            if module.name(given) in STARTS:
                spawn = ast.Name("spawn")
                args = [*call.args[:at], spawn, *call.args[at + 1 :]]
                yield call, call.args[at + 1], ast.unparse(ast.Call(call.func, args, []))


def joined(module: Module, call: ast.Call) -> bool:
    """Whether the function that starts a task also waits for it, or hands it out."""
    if isinstance(call.parent, ast.Await | ast.Return):
        return True
    function = function_of(call)
    name = _local(call) or _collection(module, call)
    if function is None or name is None:
        return not isinstance(call.parent, ast.Expr | ast.Call)
    for each in inside(function, ast.Name):
        if each.id == name and isinstance(each.ctx, ast.Load):
            above = each.parent
            if isinstance(above, WAITED) or getattr(above, "attr", "") == "cancel":
                return True
            if isinstance(above, ast.Call) and module.name(above.func) in JOINS:
                return True
    return False


def _collection(module: Module, call: ast.Call) -> str | None:
    """The variable of the function to which a task is added as soon as it is made."""
    method = getattr(call.parent, "func", None)
    if getattr(method, "attr", "") not in ("add", "append"):
        return None
    name = getattr(method.value, "id", "")
    return name if name in module.bindings(function_of(call) or module.tree) else None


def unwatched(module: Module, call: ast.Call) -> str | None:
    """The attribute of `self` that holds a task, when the module only cancels or compares it."""
    holder = call.parent
    alone = isinstance(holder, ast.Assign) and len(holder.targets) == 1
    target = holder.targets[0] if alone else None
    if not isinstance(target, ast.Attribute) or getattr(target.value, "id", "") != "self":
        return None
    for each in module.all(ast.Attribute):
        if each.attr == target.attr and isinstance(each.ctx, ast.Load):
            above = each.parent
            asked = isinstance(above, ast.Attribute) and above.attr in ("cancel", "done")
            if not asked and not isinstance(above, TESTS):
                return None
    return target.attr


def _is_loop(module: Module, node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return module.name(node.func) in LOOPS
    last = getattr(node, "attr", getattr(node, "id", ""))
    return last in LOOP_NAMES or module.value(node) == "asyncio.AbstractEventLoop"


def _local(call: ast.Call) -> str | None:
    """The variable of a function that a call is assigned to, alone."""
    holder = call.parent
    if isinstance(holder, ast.Assign) and len(holder.targets) == 1:
        target = holder.targets[0]
    elif isinstance(holder, ast.AnnAssign | ast.NamedExpr):
        target = holder.target
    else:
        return None
    return target.id if isinstance(target, ast.Name) else None


def _kept(name: ast.Name) -> bool:
    """Whether a function does something else with a value than to ask what it is."""
    for each in inside(function_of(name) or name, ast.Name):
        if each.id == name.id and each is not name and isinstance(each.ctx, ast.Load):
            asked = getattr(each.parent, "func", None)
            if getattr(asked, "attr", getattr(asked, "id", "")) not in ASKS:
                return True
    return False


def _unused_local(call: ast.Call) -> bool:
    """Whether a task's only name is never read, and its function ends without a wait."""
    function, name = function_of(call), _local(call)
    if name is None or not isinstance(function, FUNCTIONS):
        return False
    if isinstance(call.parent, ast.NamedExpr) and not isinstance(call.parent.parent, TESTS):
        return False
    for each in ast.walk(function):
        if isinstance(each, ast.Global | ast.Nonlocal) and name in each.names:
            return False
        read = isinstance(each, ast.Name) and each.id == name and isinstance(each.ctx, ast.Load)
        if read and getattr(each.parent, "attr", "") != "add_done_callback":
            return False
        after = getattr(each, "lineno", 0) > call.lineno
        runs = isinstance(each, ast.Attribute) and each.attr in (
            "run_forever",
            "run_until_complete",
        )
        if after and (runs or isinstance(each, GOES_ON)):
            return False
    return True


def instead_of(module: Module, function: ast.AST, node: ast.Name) -> str | None:
    """What to hand to a task instead of a parameter that holds an upload or the session.

    None when a name is no such parameter, nor an upload of a list of them.
    """
    bound = module.bindings(function).get(node.id, ())
    loop = bound[0].parent if len(bound) == 1 and isinstance(bound[0], ast.Name) else None
    each_of = loop.iter if isinstance(loop, ast.For) and bound[0].slot == "target" else None
    name = getattr(each_of, "id", node.id)
    arg = next((each for each in arguments(function) if each.arg == name), None)
    if arg is None or len(module.bindings(function)[name]) > 1:
        return None
    inner = ast.walk(arg.annotation) if arg.annotation is not None else ()
    several = any(module.name(each) in UPLOADS for each in inner)
    if module.value(node) in UPLOADS or (each_of is not None and several):
        return f"pass `await {node.id}.read()` instead of the upload"
    if several:
        return f"pass what `read()` gives of each upload instead of `{node.id}`"
    if module.value(node) == SESSION and module.project.injection(module, function, arg):
        return f"open a session in the task instead of passing `{node.id}`"
    return None
