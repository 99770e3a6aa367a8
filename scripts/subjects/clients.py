"""Clients of aiohttp, httpx and httpx2: where they are made, how they are called."""

import ast
import re
from collections.abc import Iterator

from project.module import (
    COMPREHENSIONS,
    FUNCTIONS,
    Module,
    function_of,
    keyword,
    own,
    parents,
    spreads,
)

from subjects.distributions import is_script, serves
from subjects.occasions import (
    escapes,
    is_own_field,
    looped,
    opens_for_requests,
    repeats,
    request_function,
    runs_once,
    shares,
    uses,
)

AIOHTTP = "aiohttp.ClientSession"
HTTPX = ("httpx.AsyncClient", "httpx2.AsyncClient")
VERBS = {"get", "post", "put", "patch", "delete", "head", "options", "request"}
# What makes a client somebody's own, or spares it the cost of a new TLS context.
OWN = {"cert", "proxy", "proxies", "mounts", "cookies", "cookie_jar", "transport", "app", "auth"}
CHOSEN = re.compile(r"insecure|unverif|verify|skip|ssl|tls|cert", re.IGNORECASE)


def is_call_of(module: Module, call: ast.Call, *kinds: str) -> bool:
    """Whether it is a request made by a client of one of these classes."""
    return (
        isinstance(call.func, ast.Attribute)
        and call.func.attr in VERBS
        and module.value(call.func.value) in kinds
    )


def requests_in(module: Module, *kinds: str) -> Iterator[ast.Call]:
    """The requests of a module made by clients of these classes."""
    return (call for call in module.all(ast.Call) if is_call_of(module, call, *kinds))


def opened(module: Module, call: ast.Call) -> str | None:
    """How often a client is made: for each `request`, for each `call`, `perhaps` so, or None."""
    if spreads(call) or any(_own(each) for each in call.keywords):
        return None
    served = request_function(module, call)
    once = is_script(module) or runs_once(module, call)
    if served is None and once:
        return None
    often = _by_holder(module, call, served, once)
    if often and _keeps(function_of(call)):
        return "perhaps"
    return "perhaps" if often == "call" and not serves(module) else often


def _keeps(function: ast.AST | None) -> bool:
    """Whether a function asks a cache first, so that it seldom comes to its request."""
    asked = function.body[:10] if isinstance(function, FUNCTIONS) else []
    return any(
        isinstance(each, ast.If)
        and any("cache" in ast.unparse(part.test).lower() for part in (each, *_nested(each)))
        and any(isinstance(inner, ast.Return) for inner in ast.walk(each))
        for each in asked
    )


def _nested(node: ast.If) -> list[ast.If]:
    return [each for each in node.body if isinstance(each, ast.If)]


def _by_holder(module: Module, call: ast.Call, served: ast.AST | None, once: bool) -> str | None:
    holder = _holder(call)
    if isinstance(holder, ast.With | ast.AsyncWith):
        return _of_block(module, call, holder, served)
    if isinstance(holder, ast.Assign):
        return _of_name(holder, served, module, call)
    if isinstance(holder, ast.Attribute) and holder.attr in VERBS:
        return "request" if served else "call"
    if isinstance(holder, ast.Return | ast.Yield | ast.Call) and served and not once:
        return "request"
    if isinstance(holder, ast.Return) and opens_for_requests(module, function_of(call)):
        return "request"
    return None


def _own(each: ast.keyword) -> bool:
    if each.arg == "connector":
        return not (isinstance(each.value, ast.Call) and not each.value.args)
    if each.arg == "verify":
        return not isinstance(each.value, ast.Constant)
    return each.arg in OWN


def _holder(call: ast.Call) -> ast.AST:
    holder = call.parent
    if isinstance(holder, ast.Await):
        holder = holder.parent
    return holder.parent if isinstance(holder, ast.withitem) else holder


def _of_block(module: Module, call: ast.Call, block: ast.AST, served: ast.AST | None) -> str | None:
    target = call.parent.optional_vars if isinstance(call.parent, ast.withitem) else None
    if not isinstance(target, ast.Name) or _in_loop(block) or _upgrades(block):
        return None
    inside = [
        node
        for part in (*block.items, *block.body)
        for node in ast.walk(part)
        if isinstance(node, ast.Name) and node.id == target.id and node is not target
    ]
    if any(isinstance(node.parent, ast.Yield) for node in inside):
        return "request" if served is not None and not served.decorator_list else None
    if served:
        return "request"
    if any(isinstance(each, ast.Yield) for each in own(block)):
        return None
    if any(looped(node, block, ast.While, ast.AsyncFor) for node in inside):
        return None
    direct = inside and all(
        isinstance(node.parent, ast.Attribute)
        and node.parent.attr in (*VERBS, "stream", "send")
        and not looped(node, block)
        for node in inside
    )
    return "call" if direct else "perhaps"


def _upgrades(block: ast.AST) -> bool:
    """Whether a WebSocket is opened in the block, for which a client of its own is right."""
    return any(isinstance(e, ast.Attribute) and e.attr == "ws_connect" for e in ast.walk(block))


def _of_name(
    holder: ast.Assign, served: ast.AST | None, module: Module, call: ast.Call
) -> str | None:
    target = holder.targets[0]
    if is_own_field(target, served):
        return "request"
    function = function_of(call)
    if function is None or not isinstance(target, ast.Name):
        return None
    if shares(module, function, target.id) or repeats(module, function):
        return None
    if escapes(function, target.id):
        return None
    calls = [each for each in uses(function, target.id) if isinstance(each.parent, ast.Attribute)]
    if not any(each.parent.attr in VERBS for each in calls):
        return None
    if served:
        return "request"
    closed = any(each.parent.attr in ("close", "aclose") for each in calls)
    sent = [each for each in calls if each.parent.attr in VERBS]
    return "call" if closed and not any(looped(each, function) for each in sent) else "perhaps"


def _in_loop(block: ast.AST) -> bool:
    """Whether a block is opened by a loop that never ends, such as a poller's."""
    for above in parents(block):
        if isinstance(above, FUNCTIONS):
            return False
        if isinstance(above, (ast.While, *COMPREHENSIONS)):
            return True
    return False


def verifies_nothing(module: Module, call: ast.Call) -> ast.expr | None:
    """The False by which a call of a client switches off the check of certificates, or None."""
    off = {
        each.arg: each.value
        for each in call.keywords
        if each.arg in ("ssl", "verify_ssl", "verify") and getattr(each.value, "value", 0) is False
    }
    if not off or _is_named_insecure(call):
        return None
    name = module.name(call.func) or ""
    if "verify" in off and name.partition(".")[0] in ("httpx", "httpx2"):
        return off["verify"]
    if name == "aiohttp.TCPConnector" or _may_be_aiohttp(module, call):
        return off.get("ssl", off.get("verify_ssl"))
    return None


def _is_named_insecure(call: ast.Call) -> bool:
    """Whether it stands under a name or a test that says so: somebody chose it."""
    for above in parents(call):
        if isinstance(above, ast.Assign | ast.AnnAssign) and call is above.value:
            target = above.targets[0] if isinstance(above, ast.Assign) else above.target
            return bool(CHOSEN.search(ast.unparse(target)))
        if isinstance(above, ast.If | ast.IfExp) and CHOSEN.search(ast.unparse(above.test)):
            return True
        if isinstance(above, FUNCTIONS):
            return False
    return False


def _may_be_aiohttp(module: Module, call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute) or b"aiohttp" not in module.source:
        return False
    verb = call.func.attr in VERBS or call.func.attr == "ws_connect"
    return verb and module.value(call.func.value) in (AIOHTTP, None)


def is_plain_http(module: Module, call: ast.Call) -> bool:
    """Whether the call's address begins with `http://`, where there is no certificate."""
    bound = module.bindings(function_of(call) or module.tree)
    for each in (*call.args[:2], keyword(call, "url"), keyword(call, "base_url")):
        names = bound.get(each.id, ()) if isinstance(each, ast.Name) else ()
        if len(names) == 1 and isinstance(names[0].parent, ast.Assign):
            each = names[0].parent.value
        text = each.values[0] if isinstance(each, ast.JoinedStr) and each.values else each
        if isinstance(text, ast.Constant) and str(text.value).startswith(("http:", "ws:")):
            return True
    return False
