"""What can be seen in code of rules/pooling/database.md."""

import ast
import re
from collections import Counter
from collections.abc import Iterator

from checks import Report, check
from project.module import FUNCTIONS, Module, function_of, keyword, parents
from project.values import ENGINE
from subjects.distributions import is_script
from subjects.engines import (
    POOL,
    bound_of_pool,
    bounded,
    engines_per_call,
    hook,
    pool_calls,
    settings,
)
from subjects.environments import for_alembic
from subjects.sqltexts import (
    SET,
    SET_CONFIG,
    by_sqlalchemy,
    execution,
    is_listener,
    texts,
)

RESET = re.compile(r"^\s*(?:RESET|SET)\s+(?:SESSION\s+)?(?P<name>[\w.]+)", re.IGNORECASE)
LOCK = re.compile(r"\bpg_(try_)?advisory_lock(_shared)?\b")
NULLS = re.compile(
    r"(?<!NULLIF\()(?P<setting>current_setting\(\s*'[\w.]+'\s*,\s*true\s*\))"
    r"(?P<cast>::(?:uuid|int|integer|bigint)\b)",
    re.IGNORECASE,
)
NOTIFY = re.compile(r"^\s*NOTIFY\s+[\w\"{}.]+\s*,\s*:\w+", re.IGNORECASE)
PARAMETER = re.compile(r":\w+|\$\d")
LISTEN = re.compile(r"^\s*LISTEN\s+[\w\"{}]+\s*;?\s*$")


@check("create_async_engine", "create_pool")
def one_engine_in_the_lifespan(module: Module) -> Iterator[Report]:
    """An engine or a pool that is made for each request or call."""
    for call, often, sure in engines_per_call(module):
        what = ast.unparse(call.func)
        yield Report(
            call,
            f"each {often} opens its own backends by `{what}`",
            f"make it once, in the lifespan, and take what `{what}` returns as a parameter",
            hint=not sure,
        )


@check("set_config", "SET ", "set ")
def tenant_inside_the_transaction(module: Module) -> Iterator[Report]:
    """A setting that outlives its transaction on a connection of a pool."""
    if is_script(module) or b"NullPool" in module.source:
        return
    for call in module.calls("sqlalchemy.func.set_config"):
        last = call.args[2] if len(call.args) == 3 else None
        if isinstance(last, ast.Constant) and last.value is False and not _elsewhere(module, call):
            shown = ast.unparse(call).removesuffix("False)")
            yield _kept(call, ast.unparse(call.args[0]), f"{shown}True)")
    said = Counter(
        (function_of(node), each["name"].lower())
        for node, text in texts(module)
        for each in [SET.match(text) or RESET.match(text)]
        if each
    )
    autocommit = {
        function_of(node) for node in module.all(ast.Constant) if node.value == "AUTOCOMMIT"
    }
    for node, text in texts(module):
        found = SET_CONFIG.search(text) or SET.match(text)
        ran = execution(module, node) if found else None
        if found is None or ran is None or _elsewhere(module, ran) or for_alembic(module, ran):
            continue
        if found.re is SET_CONFIG:
            name = found["arguments"].partition(",")[0].strip()
            yield _kept(node, name, f"set_config({found['arguments']}, true)")
        elif said[function_of(node), found["name"].lower()] == 1:
            rest = found[0].lstrip()[3:].lstrip()
            rest = re.sub(r"^SESSION\s+(?!AUTH)", "", rest, flags=re.IGNORECASE)
            reset = f"add `RESET {found['name']}` before the connection returns"
            outside = function_of(node) in autocommit  # where LOCAL would set nothing
            local = f"SET LOCAL {rest.strip()}"
            value = found["value"].strip()
            if PARAMETER.fullmatch(value):  # which SET takes none of
                local = f"SELECT set_config('{found['name']}', {value}, true)"
            yield _kept(node, found["name"], reset if outside else local)


def _kept(node: ast.AST, name: str, instead: str) -> Report:
    return Report(node, f"{name} stays set for whoever takes the connection next", instead)


def _elsewhere(module: Module, node: ast.Call) -> bool:
    """Whether a statement is not executed by a session or connection, or in an event's listener."""
    ran = node if getattr(node.func, "attr", "") != "set_config" else execution(module, node)
    return ran is None or is_listener(module, node) or not by_sqlalchemy(module, ran)


@check("advisory_lock", "current_setting")
def state_across_requests(module: Module) -> Iterator[Report]:
    """A lock of the session that nothing gives back; a tenant that ended and is cast."""
    if is_script(module) or b"NullPool" in module.source:
        return
    if b"advisory_unlock" not in module.source:
        for call in module.all(ast.Call):
            name = module.name(call.func) or ""
            if name.startswith("sqlalchemy.func.") and LOCK.search(name):
                yield _locked(call, ast.unparse(call))
        for node, text in texts(module):
            ran = execution(module, node) if LOCK.search(text) else None
            if ran is not None and by_sqlalchemy(module, ran) and not is_listener(module, ran):
                yield _locked(node, text.strip())
    for node, text in texts(module):
        found = NULLS.search(text)
        if found:
            yield Report(
                node,
                f"once the tenant ended, `{found['setting']}` is '' and the cast raises",
                f"NULLIF({found['setting']}, ''){found['cast']}",
            )


def _locked(node: ast.AST, said: str) -> Report:
    shown = LOCK.sub(lambda each: f"pg_{each[1] or ''}advisory_xact_lock{each[2] or ''}", said)
    shown = shown if len(shown) <= 90 and "\n" not in shown else "pg_advisory_xact_lock"
    return Report(node, "the lock stays with the connection when it returns to the pool", shown)


@check("prepared_statement_name_func")
def state_across_pgbouncer(module: Module) -> Iterator[Report]:
    """Names by `uuid4` for prepared statements."""
    for value in settings(module, "prepared_statement_name_func"):
        if _names_by_uuid(module, value):
            yield Report(
                value,
                "statements with new names pile up on the servers behind PgBouncer",
                "leave `prepared_statement_name_func` out; on asyncpg 0.30 and 0.31 write `str`",
            )


def _names_by_uuid(module: Module, value: ast.expr) -> bool:
    found = module.project.definition(module.name(value))
    made = value if isinstance(value, ast.Lambda) else found[1] if found else None
    return made is not None and any(
        (module if made is value else found[0]).name(each.func) == "uuid.uuid4"
        for each in ast.walk(made)
        if isinstance(each, ast.Call)
    )


@check("add_listener", "NOTIFY", "LISTEN")
def listen_in_a_pool(module: Module) -> Iterator[Report]:
    """A listener on a connection of a pool; a NOTIFY with a parameter."""
    for call in module.all(ast.Call):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "add_listener":
            owner = call.func.value
            pooled = bound_of_pool(module, owner)
            if pooled or getattr(owner, "attr", "") == "driver_connection":
                yield Report(
                    call,
                    f"the pool of `{ast.unparse(owner)}` ends the listener, or reuses it",
                    "listen on an `asyncpg.connect(...)` of its own, one per process",
                )
    for node, text in texts(module):
        if NOTIFY.match(text) and execution(module, node) is not None:
            channel, _, payload = text.strip().removeprefix("NOTIFY").partition(",")
            yield Report(
                node,
                "NOTIFY takes no parameters",
                f"SELECT pg_notify('{channel.strip()}', {payload.strip(' ;')})",
            )
        ran = execution(module, node) if LISTEN.match(text) else None
        if ran is not None and by_sqlalchemy(module, ran):
            yield Report(
                node,
                "it takes a connection of the pool, and SQLAlchemy delivers nothing",
                "listen on an `asyncpg.connect(...)` of its own, one per process",
            )


@check("create_pool")
def set_in_a_pools_hook(module: Module) -> Iterator[Report]:
    """A setting made by `init=` or `setup=` of asyncpg's pool."""
    for call in module.calls("asyncpg.create_pool"):
        for word in ("init", "setup"):
            value = keyword(call, word)
            found = next((SET.match(text) for text in hook(module, value)), None)
            if found is None:
                continue
            lost = (
                "is gone after the first release" if word == "init" else "repeats at each acquire"
            )
            name, setting = found["name"], found["value"].strip().strip("'")
            quoted = f'f"{setting}"' if "{" in setting else f'"{setting}"'
            yield Report(
                value,
                f"what `{ast.unparse(value)}` SETs {lost}",
                f'server_settings={{"{name}": {quoted}}}',
            )


@check(".acquire(", ".close(")
def waits_of_asyncpgs_pool(module: Module) -> Iterator[Report]:
    """Waits for a free connection, or for those that are out, without an end."""
    if is_script(module):
        return
    for call in pool_calls(module, "acquire", "close"):
        if bounded(module, call):
            continue
        said = ast.unparse(call)
        if call.func.attr == "close":
            wait = f"asyncio.wait_for({said}, 10)"
            yield Report(call, "it waits for ever for connections that are out", wait)
        elif not call.args and keyword(call, "timeout") is None:
            options = ", ".join(["timeout=2", *map(ast.unparse, call.keywords)])
            wait = f"{ast.unparse(call.func)}({options})"
            yield Report(call, "it waits for ever for a free connection", wait)


@check("acquire", ".begin(", ".connect(")
def nested_checkout(module: Module) -> Iterator[Report]:
    """A second connection of a pool, taken while the function holds one."""
    for call in [
        *module.methods(POOL, "acquire"),
        *module.methods(ENGINE, "begin", "connect"),
    ]:
        owner = ast.unparse(call.func.value)
        for above in parents(call):
            if isinstance(above, FUNCTIONS):
                break
            if isinstance(above, ast.AsyncWith) and call.parent.parent is not above:
                outer = [item for item in above.items if _takes(item.context_expr, owner)]
                if outer and isinstance(call.parent, ast.withitem | ast.Await):
                    held = outer[0].optional_vars
                    yield Report(
                        call,
                        f"it takes a second connection of `{owner}` while the block holds one",
                        f"use `{ast.unparse(held)}`" if held else "use the connection that is held",
                    )
                    break


def _takes(node: ast.expr, owner: str) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("acquire", "begin", "connect")
        and ast.unparse(node.func.value) == owner
    )


@check("post_fork", "worker_process_init", "register_at_fork")
def one_loop_one_process(module: Module) -> Iterator[Report]:
    """`dispose()` in a forked child, without `close=False`."""
    for call in module.all(ast.Call):
        if getattr(call.func, "attr", "") != "dispose" or keyword(call, "close") is not None:
            continue
        function = function_of(call)
        if call.args or not isinstance(function, FUNCTIONS) or not _in_child(module, function):
            continue
        yield Report(
            call,
            "in a forked child it ends the parent's backends",
            f"{ast.unparse(call.func)}(close=False)",
        )


def _in_child(module: Module, function: ast.AST) -> bool:
    if function.name == "post_fork":
        return True
    if any("worker_process_init" in ast.unparse(mark) for mark in function.decorator_list):
        return True
    return any(
        getattr(each.value, "id", "") == function.name
        for call in module.calls("os.register_at_fork")
        for each in call.keywords
        if each.arg == "after_in_child"
    )
