"""What can be seen in code of rules/asyncio/cancellation.md."""

import ast
from collections.abc import Iterator

from checks import Report, check
from project.module import FUNCTIONS, Module, function_of, in_coroutine, parents
from subjects.calls import written
from subjects.distributions import is_script
from subjects.handlers import (
    DEADLINES,
    WAITS,
    asks_for_cancel,
    blind,
    head,
    narrower,
    suppressors,
    swallower,
    within,
)
from subjects.occasions import run_by_hand
from subjects.programs import ended, handed_on, limit, owns_group, programs, starts_others
from subjects.shields import in_cleanup, owned, unheld
from subjects.signals import replaced
from subjects.stopping import (
    alternative,
    awaited_task,
    cancels,
    closed_early,
    drains,
    ended_instead,
    over,
)
from subjects.streams import cleanup, dropped, left_early, streamed

LOOPS = (ast.While, ast.For, ast.AsyncFor)
HTTP_BASE = "starlette.middleware.base.BaseHTTPMiddleware"


@check("CancelledError", "BaseException", "except:")
def retry_loops(module: Module) -> Iterator[Report]:
    """A handler in a loop takes the cancellation of an await, and the loop goes on."""
    for node in module.all(ast.Try):
        handler = swallower(module, node)
        loop = _goes_on(module, node) if handler and not _leaves(handler.body) else None
        if loop is not None:
            yield Report(
                handler,
                f"`{head(handler)}` takes a cancellation, and the loop at line {loop.lineno}"
                " goes on",
                narrower(module, handler),
            )
    for statement, call in suppressors(module):
        loop = _goes_on(module, statement)
        if loop is not None:
            yield Report(
                call,
                f"`{written(call)}` takes a cancellation, and the loop at line {loop.lineno}"
                " goes on",
                "leave CancelledError out of it",
            )


def _goes_on(module: Module, node: ast.Try | ast.With) -> ast.stmt | None:
    """The loop around a guarded block that a cancellation of its await does not end, or None."""
    loop = _loop_around(node)
    if loop is None or drains(loop) or not in_coroutine(node) or not _waits(node.body):
        return None
    if _stopped(module, node.body) or over(module, node.body, loop) or _ends_here(node):
        return None
    return None if asks_for_cancel(function_of(node)) else loop


@check("CancelledError", "BaseException", "except:")
def stopping_a_task(module: Module) -> Iterator[Report]:
    """A cancel of the caller is dropped together with that of the task it waits for."""
    for node in module.all(ast.Try):
        handler = swallower(module, node) if in_coroutine(node) else None
        if handler is not None:
            yield from _hidden(module, handler, node)
    for statement, call in suppressors(module):
        if in_coroutine(statement):
            yield from _hidden(module, call, statement)


def _hidden(module: Module, place: ast.AST, block: ast.Try | ast.With) -> Iterator[Report]:
    task = _stopped(module, block.body)
    function = function_of(place)
    if (
        task is not None
        and not asks_for_cancel(function)
        and not _ends_with_its_loop(module, place)
    ):
        yield Report(
            place,
            f"a cancel of the caller is dropped here like that of"
            f" `{ast.unparse(task).lstrip('*')}`",
            ended_instead(module, task, block),
        )


def _ends_with_its_loop(module: Module, node: ast.AST) -> bool:
    """Whether it is in the coroutine that a script is: Ctrl-C ends it, `asyncio.run` cleans up."""
    name = getattr(function_of(node), "name", "")
    return name in run_by_hand(module) and is_script(module)


def _stopped(module: Module, body: list[ast.stmt]) -> ast.expr | None:
    """The task that a guarded block waits for after it was cancelled, and nothing beside it."""
    waits = list(within(body, *WAITS))
    if len(waits) != 1 or not isinstance(waits[0], ast.Await):
        return None
    task = awaited_task(module, waits[0])
    function = function_of(waits[0])
    if task is None or function is None or over(module, body, _loop_around(waits[0])):
        return None
    for each in cancels(function, task):
        if each.lineno <= waits[0].lineno and not alternative(each, waits[0]):
            return task
    return None


def _loop_around(node: ast.AST) -> ast.stmt | None:
    for above in parents(node):
        if isinstance(above, LOOPS):
            return above
        if isinstance(above, (*FUNCTIONS, ast.Lambda, ast.ClassDef)):
            return None
    return None


def _waits(body: list[ast.stmt]) -> bool:
    return next(within(body, *WAITS), None) is not None


def _leaves(body: list[ast.stmt]) -> bool:
    """Whether statements leave their loop, or may."""
    return next(within(body, ast.Return, ast.Break), None) is not None


def _ends_here(node: ast.Try | ast.With) -> bool:
    """Whether what follows a guarded block leaves the loop in any case."""
    block = getattr(node.parent, node.slot)
    after = [*block[block.index(node) + 1 :], *getattr(node, "finalbody", ())]
    return any(isinstance(each, ast.Return | ast.Break | ast.Raise) for each in after)


@check("shield")
def cleanup_that_must_finish(module: Module) -> Iterator[Report]:
    """A cancel ends `await shield(...)` in a `finally` before the cleanup is done."""
    for call, inner in unheld(module):
        if in_cleanup(call):
            what = written(inner)
            yield Report(
                call,
                f"a cancel that arrives here ends the cleanup before `{what}` is done",
                owned(call, inner, what),
            )


@check("shield")
def shield_without_a_reference(module: Module) -> Iterator[Report]:
    """The task that `shield` makes of a call, awaited on the spot, has no other owner."""
    for call, inner in unheld(module):
        if not in_cleanup(call):
            what = written(inner)
            yield Report(
                call,
                f"when this wait is cancelled, nothing holds or awaits the task of `{what}`",
                owned(call, inner, what),
            )


@check("async for", "anext")
def async_generators(module: Module) -> Iterator[Report]:
    """`return` or `break` leaves a generator open whose cleanup is then done elsewhere."""
    for loop in module.all(ast.AsyncFor):
        exits = left_early(module, loop)
        if exits is not None and not _ends_with_its_loop(module, loop):
            what, target = written(loop.iter), ast.unparse(loop.target)
            yield Report(
                loop,
                f"the `{exits}` in this loop leaves `{what}` open, and another task closes it",
                f"async with aclosing({what}) as stream: async for {target} in stream: ...",
            )
    for wait, made in dropped(module):
        what = written(made)
        yield Report(
            wait,
            f"nothing here closes `{what}` after this, so another task does",
            f"async with aclosing({what}) as stream: await anext(stream), and use it there",
        )


@check("timeout(", "import timeout", "timeout_at", "fail_after")
def timeouterror_caught_inside_its_block(module: Module) -> Iterator[Report]:
    """Inside a deadline's block, what ends an await is a CancelledError."""
    for call in module.calls(*sorted(DEADLINES)):
        for handler, sure in blind(module, call):
            yield Report(
                handler,
                f"the deadline of `{written(call)}` at line {call.lineno} is a"
                " CancelledError here, which this handler does not see",
                f"move `{head(handler)}` to a `try` around line {call.parent.parent.lineno}",
                hint=not sure,
            )


@check("create_subprocess")
def subprocess_under_a_deadline(module: Module) -> Iterator[Report]:
    """After the deadline the program, or what it started, runs on."""
    for made, name in programs(module):
        function = function_of(made)
        end = limit(module, function, name)
        if end is None or owns_group(made) or handed_on(function, name):
            continue
        killed = ended(function, name)
        if killed is None:
            yield Report(
                made,
                f"when `{written(end)}` is over, the program of `{name}` goes on",
                "pass start_new_session=True here, and os.killpg it in `except BaseException:`",
            )
        else:
            yield Report(
                made,
                f"`{written(killed)}` leaves running what the program of `{name}` started",
                f"pass start_new_session=True here, and os.killpg({name}.pid, signal.SIGKILL)",
                hint=not starts_others(module, made),
            )


@check("lifespan", "on_event", "add_signal_handler", "signal.signal")
def signal_handler_in_a_lifespan(module: Module) -> Iterator[Report]:
    """The handler takes the place of the server's, which then does not stop."""
    for call, name in replaced(module):
        yield Report(
            call,
            f"this handler replaces the server's for {name}, and the server does not stop",
            "clean up after the lifespan's `yield`, without a handler of your own",
        )


@check("StreamingResponse")
def anyio_scopes_cancel_every_await(module: Module) -> Iterator[Report]:
    """When the client leaves, each await in the generator's `finally` is cancelled again."""
    for generator in streamed(module):
        for wait in cleanup(module, generator):
            what = written(wait.value)
            yield Report(
                wait,
                f"`{what}` is cancelled too when the client of `{generator.name}` leaves",
                f"with anyio.CancelScope(shield=True): await finish({what})",
            )


@check(".cancel(")
def closing_right_after_cancel(module: Module) -> Iterator[Report]:
    """A worker that was asked to end may still use what the next line closes."""
    for closing, task in closed_early(module):
        yield Report(
            closing,
            f"`{task}` was only asked to end, and may still use what this closes",
            f"await stop({task}) first",
            hint=True,
        )


@check("is_disconnected")
def a_disconnect_cancels_only_streams(module: Module) -> Iterator[Report]:
    """Below a BaseHTTPMiddleware the request never hears that its client has gone."""
    project = module.project
    above = [each for each in sorted(project.facts.middleware) if project.is_a(each, HTTP_BASE)]
    asked = module.methods("fastapi.Request", "is_disconnected") if above else []
    for call in asked:
        name = above[0].rpartition(":")[2].rpartition(".")[2]
        yield Report(
            call,
            f"below `{name}`, a BaseHTTPMiddleware, this stays False when the client has gone",
            'wait for the work and, beside it, for `request.receive()` to give "http.disconnect"',
            hint=True,
        )
