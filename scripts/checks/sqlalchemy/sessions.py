"""What can be seen in code of rules/sqlalchemy/sessions.md."""

import ast
from collections.abc import Iterator

from checks import Report, check
from project.module import (
    Module,
    class_of,
    function_of,
    inside,
    keyword,
    spreads,
    statement_of,
)
from subjects.datetimes import PLAIN, UNTYPED, mapped_datetime, with_zone, zone_of
from subjects.mapped import (
    assigned,
    columns,
    eager,
    eager_base,
    is_asynchronous,
    is_for_postgres,
    lineage,
    maps_datetime,
    says,
    spoken,
)
from subjects.retries import retried
from subjects.selects import GETS, expired, is_listed, is_write, rewritten, streams_all
from subjects.sessions import (
    blocks,
    calls_on,
    goes_on_after,
    is_given,
    loop_between,
    on_sessions,
    swallowed,
    text,
    used_after,
)
from subjects.sharing import gathered
from subjects.units import commits, fixture_sessions, is_script, nested, slow_calls
from subjects.urls import plain_url


@check("onupdate")
def return_what_the_database_computes(module: Module) -> Iterator[Report]:
    """The first column of each base whose `onupdate` is SQL, where no UPDATE returns it."""
    seen: set[str] = set()
    for call, definition, name in columns(module):
        value = keyword(call, "onupdate") or keyword(call, "server_onupdate")
        made = module.name(value.func) if isinstance(value, ast.Call) else None
        if not (made or "").startswith(("sqlalchemy.", "sqlmodel.")):
            continue
        found = lineage(module, definition)
        base, instead = eager_base(found)
        if base in seen or not is_asynchronous(module.project) or eager(found, module.project):
            continue
        seen.add(base)
        yield Report(
            call,
            f"after an UPDATE of a `{definition.name}`, `{name}` cannot be read without a refresh",
            instead,
        )


@check("__mapper_args__")
def eager_defaults_lost(module: Module) -> Iterator[Report]:
    """Mapper arguments of a model that replace those of its base."""
    for definition in module.all(ast.ClassDef):
        own = assigned(definition, "__mapper_args__")
        if not isinstance(own, ast.Dict) or None in own.keys or says(own, "eager_defaults"):
            continue
        found = lineage(module, definition)
        bases = [
            base.name
            for _, base in found.classes[1:]
            if says(assigned(base, "__mapper_args__"), "eager_defaults")
        ]
        if bases and any(says(node, "onupdate") for _, node in found.classes):
            rest = ast.unparse(own)[1:]
            yield Report(
                own,
                f"these arguments replace those of `{bases[0]}`, eager_defaults among them",
                f"__mapper_args__ = {{**{bases[0]}.__mapper_args__, {rest}",
            )


@check("Mapped")
def naive_datetimes(module: Module) -> Iterator[Report]:
    """A `Mapped[datetime]` whose column has no time zone."""
    for node in module.all(ast.AnnAssign):
        zone = zone_of(module, node) if mapped_datetime(module, node) else ""
        if zone not in (PLAIN, UNTYPED):
            continue
        if not is_asynchronous(module.project) or not is_for_postgres(module.project):
            return
        if zone == PLAIN or not maps_datetime(lineage(module, node.parent), module.project):
            message = f"`{node.target.id}` has no time zone: asyncpg refuses aware values for it"
            yield Report(node, message, with_zone(module, node), spoken(module.project).naive > 0)


@check("create_async_engine")
def plain_url_on_2_1(module: Module) -> Iterator[Report]:
    """A URL without a driver for an asynchronous engine."""
    for call in module.calls("sqlalchemy.ext.asyncio.create_async_engine"):
        url = plain_url(module, call)
        if url is not None:
            yield Report(
                url if url in inside(call) else call,
                "`postgresql://` names no driver: SQLAlchemy 2.1 takes psycopg, 2.0 raises",
                ast.unparse(url).replace("postgresql", "postgresql+asyncpg", 1),
            )


@check("gather", "create_task", "start_soon", "ensure_future", "as_completed", "asyncio.wait(")
def session_shared_by_tasks(module: Module) -> Iterator[Report]:
    """Awaitables that run side by side on one session."""
    for call, sessions in gathered(module):
        for session in sorted(sessions):
            name = session.rpartition(".")[2]
            yield Report(
                call,
                f"several tasks work on `{session}` at once",
                f"in each task: async with slots, sessions.begin() as {name}",
            )


@check("begin", "commit")
def session_inside_a_session(module: Module) -> Iterator[Report]:
    """A second connection of the same pool, taken while the first is held."""
    for outer, inner in () if is_script(module) else nested(module, list(blocks(module))):
        yield Report(
            inner.node,
            f"`{inner.name}` needs a second connection while `{outer.name}` holds one",
            f"leave the block of `{outer.name}` before, or use `{outer.name}` here",
        )


@check("flush")
def catch_a_conflict_around_a_savepoint(module: Module) -> Iterator[Report]:
    """A flush whose database error is caught without a savepoint, with more work to come."""
    for call, session in swallowed(module, {"flush"}):
        if goes_on_after(module, call, session):
            yield Report(
                call,
                f"after this error the transaction on `{session}` stores nothing",
                f"async with {session}.begin_nested():  # around add and flush, in the `try`",
            )


@check("insert", "update", "delete")
def error_caught_in_the_block(module: Module) -> Iterator[Report]:
    """A write whose database error is caught without a savepoint, with more work to come."""
    for call, session in swallowed(module, {"execute", "scalar", "scalars"}):
        if is_write(module, call) and goes_on_after(module, call, session):
            yield Report(
                call,
                f"after this error the transaction on `{session}` stores nothing",
                f"async with {session}.begin_nested():  # around this statement, in the `try`",
            )


@check("commit")
def commit_in_a_repository(module: Module) -> Iterator[Report]:
    """A commit before the end of a `begin()` block; a hint where a repository commits."""
    for block in blocks(module):
        if block.begins:
            for call, path, line in commits(module, block):
                here = path == module.path and line == call.lineno
                place = "" if here else f" at {path}:{line}"
                yield Report(
                    call,
                    f"`{block.name}` is committed{place} before its begin() block ends",
                    f"await {block.name}.flush()" if here else f"write flush(){place}",
                )
    for call in on_sessions(module, "commit"):
        owner = class_of(call)
        named = owner is not None and owner.name.lower().endswith(("repository", "repo", "dao"))
        if named and is_given(module, call, text(call.func.value)):
            session = text(call.func.value)
            yield Report(
                call,
                f"`{owner.name}` commits what its caller began",
                f"await {session}.flush()",
                hint=True,
            )


@check("begin_nested")
def savepoint_per_row(module: Module) -> Iterator[Report]:
    """A savepoint in each round of a loop: a place to look at, as few rounds do no harm."""
    for call in on_sessions(module, "begin_nested"):
        function = function_of(call)
        loop = loop_between(call, function) if function else None
        if isinstance(loop, ast.For | ast.AsyncFor):
            yield Report(
                call,
                f"beyond 64 rounds over `{ast.unparse(loop.iter)}` savepoints slow readers down",
                "insert(...).on_conflict_do_nothing().returning(...), once for all rows",
                hint=True,
            )


@check("httpx", "aiohttp", "sleep")
def slow_call_inside_the_block(module: Module) -> Iterator[Report]:
    """A request to another service, or a sleep, in a transaction."""
    for block in () if is_script(module) else blocks(module):
        for call, line in slow_calls(module, block):
            yield Report(
                call,
                f"`{block.name}` holds a connection since line {line} while this waits",
                f"end the block of `{block.name}` before this, and begin another one after it",
            )


@check("exc")
def retry_inside_the_transaction(module: Module) -> Iterator[Report]:
    """A statement that is repeated where every statement fails."""
    for node, session in retried(module):
        message = f"the transaction of `{session}` has failed, and so does each attempt in it"
        whole = "repeat the whole block, `async with sessions.begin() as session`, in each attempt"
        yield Report(node, message, whole)


@check("async with")
def session_used_after_its_block(module: Module) -> Iterator[Report]:
    """A statement on a session that its block has closed."""
    for block in blocks(module):
        for call in used_after(module, block):
            message = f"the block of `{block.name}` ended in line {block.node.end_lineno}"
            yield Report(call, message, "move this statement into the block")


@check("stream")
def stream_without_yield_per(module: Module) -> Iterator[Report]:
    """A stream that makes all of its objects first; a hint where a list bounds or keeps them."""
    for call in on_sessions(module, "stream", "stream_scalars"):
        selected = streams_all(module, call)
        if selected:
            message = f"all selected `{selected}` objects are made before the first one arrives"
            yield Report(call, message, rewritten(call), hint=is_listed(module, call))


@check("with_for_update")
def lock_on_a_loaded_row(module: Module) -> Iterator[Report]:
    """A row that may have been read, then is locked, and keeps the values it was read with."""
    for call in on_sessions(module, "get", "get_one"):
        locked = keyword(call, "with_for_update")
        off = isinstance(locked, ast.Constant) and not locked.value
        if locked is None or off or spreads(call) or keyword(call, "populate_existing"):
            continue
        session, row = text(call.func.value), "row"
        key = [ast.dump(each) for each in call.args]
        earlier = [
            each
            for each in calls_on(module, function_of(call) or module.tree, session, GETS)
            if each.lineno < call.lineno and [ast.dump(arg) for arg in each.args] == key
        ]
        statement = statement_of(call)
        if isinstance(statement, ast.Assign):
            row = ast.unparse(statement.targets[0])
        yield Report(
            call,
            f"if `{session}` holds this row already, it is locked and keeps its old values",
            f"{session}.refresh({row}, with_for_update={ast.unparse(locked)})",
            hint=not earlier,
        )


@check("rollback")
def rollback_expires_too(module: Module) -> Iterator[Report]:
    """An attribute of a loaded row, read after a rollback."""
    for call in on_sessions(module, "rollback"):
        for each in expired(module, call):
            yield Report(
                each,
                f"the rollback in line {call.lineno} expired `{ast.unparse(each.value)}`",
                f"copy `{ast.unparse(each)}` into a variable before the `try`",
            )


@check(".begin(", tests=True)
def test_session_without_a_savepoint(module: Module) -> Iterator[Report]:
    """A test's session in the test's transaction, which a rollback of the code would end."""
    for call, connection in fixture_sessions(module):
        start = ast.unparse(call)[:-1]
        yield Report(
            call,
            f"a rollback by the code under test undoes what it committed on `{connection}`",
            f'{start}, join_transaction_mode="create_savepoint")',
        )
