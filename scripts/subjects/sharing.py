"""Which sessions the tasks use that a function starts side by side."""

import ast
from collections.abc import Iterator

from project.module import COMPREHENSIONS, FUNCTIONS, Module, function_of, own, parents
from project.values import TASK

from subjects.handlers import up_to
from subjects.sessions import is_session, text

STARTERS = {"create_task", "start_soon", "ensure_future"}
LOOPS = (ast.For, ast.AsyncFor, ast.While)


def used(module: Module, node: ast.AST | None) -> set[str]:
    """The sessions, as written here, that an awaitable made by an expression works on."""
    if isinstance(node, ast.Name):
        return used(module, _only_value(module, node))
    if not isinstance(node, ast.Call):
        return set()
    if _starts(module, node) and node.args:
        inner, *rest = node.args
        given = {text(each) for each in rest if is_session(module, each)}
        return given | (_called(module, inner) if given or rest else used(module, inner))
    passed = [*node.args, *(each.value for each in node.keywords)]
    given = {text(each) for each in passed if is_session(module, each)}
    if given and _locks(_definition(module, node.func)):
        return set()
    return given or _called(module, node.func)


def _called(module: Module, function: ast.AST) -> set[str]:
    """The sessions a function works on that are not passed to it: its object's, its closure's."""
    if isinstance(function, ast.Attribute) and is_session(module, function.value):
        return {text(function.value)}
    found = _definition(module, function)
    if found is None or _locks(found):
        return set()
    home, definition = found
    if isinstance(function, ast.Name):
        return _free(home, definition)
    owned = {
        text(each)
        for each in own(definition)
        if isinstance(each, ast.Attribute)
        and text(each).count(".") == 1
        and text(each).startswith("self.")
        and is_session(home, each)
        and _awaited(each)
    }
    holder = text(function.value)
    if not owned or not holder:
        return set()
    made = _only_value(module, function.value)
    if isinstance(made, ast.Call):
        given = {text(each) for each in made.args if is_session(module, each)}
        given |= {text(each.value) for each in made.keywords if is_session(module, each.value)}
        if len(given) == 1:
            return given
    return {each.replace("self.", f"{holder}.", 1) for each in owned}


def _definition(module: Module, function: ast.AST) -> tuple[Module, ast.AST] | None:
    found = module.project.definition(module.name(function))
    if found is None and isinstance(function, ast.Attribute):
        owner = module.value(function.value)
        found = module.project.definition(f"{owner}.{function.attr}") if owner else None
    return found if found and isinstance(found[1], ast.AsyncFunctionDef) else None


def _locks(found: tuple[Module, ast.AST] | None) -> bool:
    """Whether a function waits for its turn before it works."""
    return found is not None and any(
        "lock" in ast.unparse(item.context_expr).lower()
        for each in own(found[1])
        if isinstance(each, ast.AsyncWith)
        for item in each.items
    )


def _free(module: Module, definition: ast.AST) -> set[str]:
    """The sessions of the function around, on which a nested function works."""
    around = function_of(definition)
    if around is None:
        return set()
    inner = module.bindings(definition)
    return {
        text(each)
        for each in own(definition)
        if isinstance(each, ast.Name | ast.Attribute)
        and isinstance(each.ctx, ast.Load)
        and not (isinstance(each.parent, ast.Attribute) and is_session(module, each.parent))
        and text(each)
        and text(each).partition(".")[0] not in inner
        and is_session(module, each)
        and (_awaited(each) or _passed(each))
    }


def _awaited(node: ast.AST) -> bool:
    """Whether `await node.method(...)` is written."""
    call = node.parent.parent if isinstance(node.parent, ast.Attribute) else None
    while isinstance(call, ast.Call):
        if isinstance(call.parent, ast.Await):
            return True
        call = call.parent.parent if isinstance(call.parent, ast.Attribute) else None
    return False


def _passed(node: ast.AST) -> bool:
    call = node.parent.parent if isinstance(node.parent, ast.keyword) else node.parent
    return isinstance(call, ast.Call) and isinstance(call.parent, ast.Await)


def _starts(module: Module, call: ast.Call) -> bool:
    """Whether a call starts a task: `asyncio.create_task`, or the method of a group."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name not in STARTERS:
        return False
    return name == "start_soon" or module.value(call) == TASK


def _only_value(module: Module, node: ast.AST) -> ast.AST | None:
    """What a local variable was set to, when one statement sets it."""
    function = function_of(node)
    if not isinstance(node, ast.Name) or function is None:
        return None
    bound = module.bindings(function).get(node.id, [])
    if len(bound) != 1 or not isinstance(bound[0], ast.Name):
        return None
    holder = bound[0].parent
    return holder.value if isinstance(holder, ast.Assign | ast.AnnAssign) else None


def many(module: Module, node: ast.AST) -> set[str]:
    """The sessions that all elements of a list of awaitables share."""
    if isinstance(node, COMPREHENSIONS) and not isinstance(node, ast.DictComp):
        inner = {
            each.id
            for generator in node.generators
            for each in ast.walk(generator.target)
            if isinstance(each, ast.Name)
        }
        return {each for each in used(module, node.elt) if each.partition(".")[0] not in inner}
    if isinstance(node, ast.Call) and module.name(node.func) == "builtins.map" and node.args:
        each = node.args[0]
        bound = isinstance(each, ast.Call) and module.name(each.func) == "functools.partial"
        if bound and each.args:
            return used(module, ast.Call(each.args[0], each.args[1:], each.keywords))
        return _called(module, each)
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return shared(module, node.elts)
    if isinstance(node, ast.Name):
        value = _only_value(module, node)
        if isinstance(value, ast.List):
            return shared(module, value.elts) | _appended(module, node)
        return many(module, value) if value is not None else set()
    return set()


def shared(module: Module, nodes: list[ast.expr]) -> set[str]:
    """The sessions that two of these awaitables work on, or all of a list among them."""
    seen: set[str] = set()
    twice: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Starred):
            every = many(module, node.value)
            twice |= every
            seen |= every
            continue
        here = used(module, node)
        twice |= here & seen
        seen |= here
    return twice


def _appended(module: Module, name: ast.Name) -> set[str]:
    """The sessions of what a loop appends to a list, or of two appends."""
    seen: set[str] = set()
    twice: set[str] = set()
    for call in own(function_of(name)):
        if not (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr == "append"
            and text(call.func.value) == name.id
            and call.args
        ):
            continue
        here = used(module, call.args[0])
        loop = next(above for above in parents(call) if isinstance(above, (*LOOPS, *FUNCTIONS)))
        if isinstance(loop, LOOPS):
            here_outside = {each for each in here if not _bound_in(module, loop, each)}
            twice |= here_outside
        twice |= here & seen
        seen |= here
    return twice


def _bound_in(module: Module, loop: ast.AST, session: str) -> bool:
    """Whether a loop makes a session of this name anew in each round."""
    bound = module.bindings(function_of(loop)).get(session.partition(".")[0], [])
    return any(loop in parents(each) for each in bound)


def gathered(module: Module) -> Iterator[tuple[ast.Call, set[str]]]:
    """The calls that run awaitables side by side, and the sessions these share."""
    for call in module.calls("asyncio.gather"):
        yield call, shared(module, call.args)
    for call in module.calls("asyncio.wait", "asyncio.as_completed"):
        if call.args:
            yield call, many(module, call.args[0])
    yield from _started(module)


def _started(module: Module) -> Iterator[tuple[ast.Call, set[str]]]:
    """Tasks of one group, or of one loop, that share a session."""
    groups: dict[tuple[ast.AST, str], list[tuple[ast.Call, set[str]]]] = {}
    for call in module.all(ast.Call):
        if not isinstance(call.func, ast.Attribute) or not _starts(module, call):
            continue
        group = text(call.func.value)
        if module.name(call.func.value) in ("asyncio", "anyio") or call.func.attr not in STARTERS:
            continue
        here = used(module, call)
        if not here:
            continue
        block = next((above for above in parents(call) if _opens(above, group)), None)
        if block is None:
            continue
        again = any(isinstance(above, COMPREHENSIONS) for above in up_to(call, block))
        loop = next((above for above in up_to(call, block) if isinstance(above, LOOPS)), None)
        looped = {each for each in here if loop and not _bound_in(module, loop, each)}
        others = groups.setdefault((block, group), [])
        seen = {each for other, held in others if not _either(other, call) for each in held}
        yield call, (here & seen) | looped | (here if again else set())
        others.append((call, here))


def _either(one: ast.AST, other: ast.AST) -> bool:
    """Whether two nodes stand in different branches of an `if`."""
    slots = {}
    below = one
    for above in parents(one):
        slots[above] = below.slot
        below = above
    below = other
    for above in parents(other):
        if isinstance(above, ast.If) and slots.get(above, below.slot) != below.slot:
            return True
        below = above
    return False


def _opens(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.AsyncWith) and any(
        item.optional_vars is not None and text(item.optional_vars) == name for item in node.items
    )
