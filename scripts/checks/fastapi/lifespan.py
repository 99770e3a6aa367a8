"""What can be seen in code of rules/fastapi/lifespan.md."""

import ast
import re
from collections.abc import Callable, Iterator

from checks import Report, check
from project.module import Module, inside, keyword
from subjects.applications import application, given, lifespan_of, names_a_lifespan, unentered
from subjects.caches import is_redis
from subjects.health import hidden_failures, idle, liveness, readiness
from subjects.jobs import (
    added,
    added_after,
    deferred_alone,
    raises_after,
    transactions,
    without_retry,
)
from subjects.lifespans import Step, between, closing, closing_now, failing, lifespans, steps
from subjects.sockets import deaf

READY = re.compile(r"(^|_)(ready|accepting|healthy|draining|shutting_down)(_|$)")
MIGRATES = re.compile(r"(^|_)(migrate|migrations?)(_|$)")
UPGRADES = ("alembic.command.upgrade",)


@check("asynccontextmanager", "lifespan", "FastAPI")
def close_whatever_was_opened(module: Module) -> Iterator[Report]:
    """What is closed one after the other, without a `finally` each, a failure leaves open."""
    for function, moment in lifespans(module):
        after = steps(function, moment)
        skipped = [*_skipped(module, after, failing), *_skipped(module, after, closing_now)]
        skipped.sort(key=lambda each: each[2])  # those of a `finally` last
        if skipped:
            close, failed, guarded = skipped[0]
            sure = isinstance(failed, ast.Await) and not guarded
            what = ast.unparse(failed)
            yield Report(close, f"skipped when `{what}` fails", _pushed(close), hint=not sure)
        elif not any(each.guarded for each in after):
            yield from _unguarded(module, function, moment, after)


def _skipped(
    module: Module,
    after: list[Step],
    fails: Callable[[Module, ast.stmt], ast.expr | None],
) -> Iterator[tuple[ast.Call, ast.expr, bool]]:
    """The closes that an earlier step can skip, that step, and whether a `finally` holds both."""
    failed: dict[int, ast.expr] = {}  # by the `finally` it stands in
    for step in after:
        close = closing(step.node)
        before = failed.get(step.block) if step.guarded else next(iter(failed.values()), None)
        if before is not None and close is not None:
            yield close, before, step.guarded
        failure = fails(module, step.node)
        if failure is not None:
            failed.setdefault(step.block, failure)


def _unguarded(
    module: Module, function: ast.AST, moment: ast.Yield, after: list[Step]
) -> Iterator[Report]:
    """A close that is skipped when the start fails after what it closes was opened."""
    closes = [close for step in after if (close := closing(step.node))]
    if not closes:
        return
    close = closes[0]
    failed = between(module, function, close, moment)
    if failed is not None:
        yield Report(close, f"skipped when `{ast.unparse(failed)}` fails", _pushed(close))
    else:
        yield Report(
            close,
            "skipped when an error reaches the `yield`",
            "try: yield, and this line under finally:",
            hint=True,
        )


def _pushed(close: ast.Call) -> str:
    push = "push_async_callback" if _awaited(close) else "callback"
    given = ", ".join(map(ast.unparse, [close.func, *close.args, *close.keywords]))
    return f"stack.{push}({given}) right after its open"


def _awaited(node: ast.AST) -> bool:
    while not isinstance(node := node.parent, ast.stmt):
        if isinstance(node, ast.Await):
            return True
    return False


@check("ready")
def readiness_that_answers(module: Module) -> Iterator[Report]:
    """An orchestrator reads the status: what is returned from an `except` is a 200."""
    for endpoint in readiness(module):
        for answer in hidden_failures(module, endpoint.function):
            yield Report(
                answer,
                f"a failed check answers 200 on {endpoint.path}",
                "log the error and raise HTTPException(503)",
            )


@check("lifespan")
def drain_before_the_port_closes(module: Module) -> Iterator[Report]:
    """What a lifespan does after its `yield`, it does when no probe can ask any more."""
    for function, moment in lifespans(module):
        for step in steps(function, moment):
            for node in [step.node, *inside(step.node, ast.Assign)]:
                target = node.targets[0] if isinstance(node, ast.Assign) else None
                flag = isinstance(target, ast.Attribute) and READY.search(target.attr)
                if flag and isinstance(node.value, ast.Constant):
                    what = ast.unparse(node)
                    yield Report(
                        node,
                        f"no probe sees `{what}`: the port is closed before the lifespan goes on",
                        f"`{what}` in a SIGTERM handler that lets the server go on for a while",
                    )


@check("add_task", "defer_async")
def queue_the_job_with_its_row(module: Module) -> Iterator[Report]:
    """A task of this process dies with it; a job of another connection outlives a rollback."""
    for block in transactions(module):
        for call, job in deferred_alone(module, block):
            what = ast.unparse(job)
            yield Report(
                call,
                f"`{what}` is queued on another connection, even if this transaction fails",
                f"await {what}.configure(connection=raw.driver_connection).defer_async(...)",
            )
        for call in added_after(module, block):
            what = ast.unparse(call.args[0])
            yield Report(
                call,
                f"`{what}` is lost when this process ends, though its row is committed",
                f"if it must happen, defer a job `{what}` in the transaction of the row",
                hint=True,
            )


@check("on_event", "on_startup", "on_shutdown", "add_event_handler", "mount")
def handlers_that_never_run(module: Module) -> Iterator[Report]:
    """An application with a lifespan calls no other handler, and no lifespan of a mounted one."""
    if any(word in module.source for word in (b"router.startup", b"_DefaultLifespan")):
        return
    for call in module.calls("fastapi.FastAPI"):
        for word in ("on_startup", "on_shutdown"):
            if lifespan_of(module, call) is not None and given(call, word) is not None:
                yield Report(
                    keyword(call, word),
                    f"never called, because this application has a lifespan beside `{word}`",
                    "call it in the lifespan",
                )
    for call in module.all(ast.Call):
        verb = getattr(call.func, "attr", "")
        if verb in ("on_event", "add_event_handler") and call.args:
            yield from _ignored(module, call)
        elif verb == "mount" and len(call.args) > 1:
            yield from _mounted(module, call)


@check("ASGITransport", tests=True)
def tests_without_a_lifespan(module: Module) -> Iterator[Report]:
    """httpx's transport sends requests, and nothing else, to an application."""
    if names_a_lifespan(module):
        return
    for call in module.calls("httpx.ASGITransport", "httpx2.ASGITransport"):
        app = keyword(call, "app") or next(iter(call.args), None)
        found = application(module, app)
        lifespan = lifespan_of(*found) if found else None
        if lifespan is not None:
            what = ast.unparse(app) if isinstance(app, ast.Name | ast.Attribute) else "app"
            yield Report(
                call,
                f"`{ast.unparse(lifespan)}` does not run here, so what it opens is not there",
                f"async with {what}.router.lifespan_context({what}) around it",
                hint=True,
            )


@check("lifespan")
def once_per_worker(module: Module) -> Iterator[Report]:
    """Each worker process runs the lifespan."""
    for function, _ in lifespans(module):
        for call in inside(function, ast.Call):
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            owner = module.value(call.func.value) if isinstance(call.func, ast.Attribute) else None
            schedules = name == "start" and (owner or "").endswith("Scheduler")
            if schedules or MIGRATES.search(name) or module.name(call.func) in UPGRADES:
                yield Report(
                    call,
                    "each worker process does this",
                    f"a process of its own for `{ast.unparse(call.func)}`",
                    hint=True,
                )


@check("uvicorn")
def streams_outlive_the_shutdown(module: Module) -> Iterator[Report]:
    """Without a limit uvicorn waits for a stream until its client leaves."""
    for call in module.calls("uvicorn.run", "uvicorn.Config"):
        words = {each.arg for each in call.keywords}
        if not {"timeout_graceful_shutdown", "reload", None} & words and call.args:
            yield Report(
                call,
                "one open stream keeps this process from stopping",
                f"{ast.unparse(call.func)}(..., timeout_graceful_shutdown=20)",
                hint=True,
            )


@check("websocket")
def websockets_that_only_send(module: Module) -> Iterator[Report]:
    """A disconnect is a message: who never receives does not learn of it."""
    for name, call in deaf(module):
        yield Report(
            call,
            f"while it waits for news, nothing receives from `{name}`, so a client that left stays",
            f"send in a TaskGroup's child, and beside it loop over `await {name}.receive()`",
        )


@check("health", "live", "ping")
def probes_that_hang(module: Module) -> Iterator[Report]:
    """A `def` endpoint waits for one of 40 threads, which slow requests may all hold."""
    for endpoint in liveness(module):
        function = endpoint.function
        if isinstance(function, ast.FunctionDef) and idle(module, function):
            yield Report(
                function,
                f"{endpoint.path} waits for one of 40 threads, though it does nothing in it",
                f"async def {function.name}(...)",
            )


@check("add_task")
def background_tasks_lost_quietly(module: Module) -> Iterator[Report]:
    """Tasks start after the response: where the handler raises, none does."""
    for call in module.all(ast.Call):
        if added(module, call) and raises_after(call):
            job = ast.unparse(call.args[0])
            yield Report(
                call,
                f"`{job}` never starts, because this handler raises below",
                f"return a response with the status, or await `{job}` here",
            )


@check("procrastinate")
def a_queue_that_gives_up(module: Module) -> Iterator[Report]:
    """A procrastinate task without `retry=` fails for good at its first error."""
    for function, task, owner in without_retry(module):
        yield Report(
            task,
            f"`{function.name}` fails for good at its first error",
            f"@{ast.unparse(owner)}(retry=...)",
            hint=True,
        )


@check("redis")
def deprecated_habits(module: Module) -> Iterator[Report]:
    """redis-py's asyncio clients are closed by `aclose()`."""
    for call in module.all(ast.Call):
        closes = getattr(call.func, "attr", "") == "close" and isinstance(call.parent, ast.Await)
        if closes and is_redis(module, call.func.value):
            what = ast.unparse(call.func.value)
            yield Report(call, "`close()` is deprecated in redis-py", f"await {what}.aclose()")


def _ignored(module: Module, call: ast.Call) -> Iterator[Report]:
    owner = call.func.value
    if isinstance(owner, ast.Attribute) and owner.attr == "router":
        owner = owner.value
    found = application(module, owner)
    if found and (lifespan := lifespan_of(*found)) is not None:
        yield Report(
            call,
            f"never called, because `{ast.unparse(owner)}` has `lifespan={ast.unparse(lifespan)}`",
            f"move it into `{ast.unparse(lifespan)}`",
        )


def _mounted(module: Module, call: ast.Call) -> Iterator[Report]:
    lifespan = unentered(module, call.args[1])
    if lifespan is not None:
        sub = ast.unparse(call.args[1])
        yield Report(
            call,
            f"the lifespan of `{sub}`, `{lifespan}`, never runs",
            f"async with {sub}.router.lifespan_context({sub}) in the lifespan of this application",
        )
