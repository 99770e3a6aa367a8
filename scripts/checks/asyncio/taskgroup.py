"""What can be seen in code of rules/asyncio/taskgroup.md."""

import ast
from collections.abc import Iterator

from checks import Report, check
from project.module import (
    Module,
    function_of,
)
from subjects.blocking import is_program
from subjects.calls import callee, written
from subjects.gathers import emptied, mistaken
from subjects.groups import (
    around,
    blind,
    children,
    groups,
    guarded,
    handled_by_app,
    http_error,
    raises_http,
    splits,
)
from subjects.handlers import DEADLINES, WAITS, catches_all, limited, up_to, within
from subjects.stopping import unfinished
from subjects.tasks import (
    dropped,
    handed,
    handed_to_loop,
    held_instead,
    instead_of,
    joined,
    starts,
    unwatched,
)

LOOPS = (ast.While, ast.For, ast.AsyncFor)
SENDS = ("send_text", "send_json", "send_bytes")


@check("TaskGroup", "create_task_group")
def split_the_group_at_the_api_boundary(module: Module) -> Iterator[Report]:
    """A handler around a group names a class that only comes inside an ExceptionGroup."""
    for group in groups(module):
        for handler, name in blind(module, group):
            yield Report(
                handler,
                f"what the group at line {group.block.lineno} raises is an ExceptionGroup,"
                f" so `except {name}` never runs",
                f"except ExceptionGroup as errors: _, unexpected = errors.split({name})",
            )


@check("gather")
def keep_partial_results(module: Module) -> Iterator[Report]:
    """One source that is late, or fails, costs the answers of all."""
    for call, returned, late in emptied(module):
        what = "is late" if late else "fails"
        yield Report(
            call,
            f"one source that {what} drops the answers of all, and line {returned.lineno}"
            f" returns `{ast.unparse(returned.value)}`",
            "await asyncio.wait over tasks of these, then take the results there are",
            hint=not late,
        )


@check("create_task", "ensure_future", "gather")
def own_background_tasks(module: Module) -> Iterator[Report]:
    """Nothing holds the task: it may be collected half done, and shutdown does not wait for it."""
    for call, work in starts(module):
        if dropped(module, call):
            what = written(work)
            yield Report(
                call,
                f"nothing holds the task of `{what}` until it ends, and shutdown drops it",
                held_instead(module, call, what),
            )
    for call, work, instead in handed_to_loop(module):
        yield Report(
            call,
            f"nothing holds the task of `{written(work)}` until it ends, and shutdown drops it",
            instead,
        )
    for call in module.calls("asyncio.gather"):
        if isinstance(call.parent, ast.Expr):
            yield Report(
                call,
                "nothing holds or awaits the tasks of these",
                f"await {written(call)}, or spawn each of them",
            )


@check("HTTPException")
def handlers_that_miss_a_group(module: Module) -> Iterator[Report]:
    """An HTTPException that leaves a group comes in an ExceptionGroup: the client gets a 500."""
    for statement in module.all(ast.Raise):
        group = around(module, statement)
        error = http_error(module, statement)
        if group is None or error is None:
            continue
        if guarded(module, statement, error, group.block) or splits(module, group):
            continue
        if not handled_by_app(module.project):
            yield Report(
                statement,
                "this error leaves the group in an ExceptionGroup, and the client gets a 500",
                f"raise it after the block at line {group.block.lineno}",
            )
    for group in groups(module):
        for call, home, function in children(module, group):
            raised = raises_http(home, function)
            if raised is None or splits(module, group) or handled_by_app(module.project):
                continue
            yield Report(
                call,
                f"`{function.name}` raises {raised}, which leaves the group in an ExceptionGroup:"
                " the client gets a 500",
                f"except ExceptionGroup as errors: around line {group.block.lineno},"
                f" with errors.split({raised})",
            )


@check("return_exceptions")
def gather_hides_errors(module: Module) -> Iterator[Report]:
    """A CancelledError among the results is no Exception, and is used as a value."""
    for call, name in mistaken(module):
        yield Report(
            call,
            f"a CancelledError in `{name.id}` is no Exception, and is used as a result",
            f"isinstance({name.id}, BaseException)",
            hint=is_program(module),
        )


@check("except*", "except *")
def except_around_a_group(module: Module) -> Iterator[Report]:
    """What leaves an `except*` clause by `return`, `break` or `continue` does not compile."""
    for node in module.all(ast.TryStar):
        for handler in node.handlers:
            for leaving in within(handler.body, ast.Return, ast.Break, ast.Continue):
                if isinstance(leaving, ast.Return) or not _in_loop(leaving, handler):
                    word = type(leaving).__name__.lower()
                    yield Report(
                        leaving,
                        f"`{word}` in an `except*` clause is a SyntaxError",
                        "write `except ExceptionGroup as errors:` and errors.split(...)",
                    )


def _in_loop(node: ast.AST, block: ast.AST) -> bool:
    return any(isinstance(each, LOOPS) for each in up_to(node, block))


@check("timeout(", "import timeout", "timeout_at", "fail_after")
def timeout_inside_the_group(module: Module) -> Iterator[Report]:
    """A deadline in a group's block ends with the block, before the children do."""
    for group in groups(module):
        body = group.block.body
        inner = [item.context_expr for item in group.after]
        if len(body) == 1 and isinstance(body[0], ast.AsyncWith):
            inner += [item.context_expr for item in body[0].items]
            body = body[0].body
        for made in inner:
            if not (isinstance(made, ast.Call) and module.name(made.func) in DEADLINES):
                continue
            if next(within(body, *WAITS, ast.Yield), None) is None:
                what = written(made)
                yield Report(
                    made,
                    f"`{what}` is over before the tasks of the group are, and limits none of them",
                    f"async with {what}, {ast.unparse(group.call)}:",
                )


@check("asyncio")
def wait_and_as_completed_cancel_nothing(module: Module) -> Iterator[Report]:
    """What `wait` leaves pending goes on, and nothing here ends it."""
    for call, function in unfinished(module):
        yield Report(
            call,
            "what is not done when this returns goes on, and nothing in"
            f" `{function.name}` cancels it",
            "cancel the tasks that are not done in a `finally`, and wait for them again",
        )


@check("send_text", "send_json", "send_bytes")
def broadcast_to_websockets(module: Module) -> Iterator[Report]:
    """One slow member holds up the rest, and one that left ends the loop."""
    for loop in module.all(ast.For):
        names = {each.id for each in ast.walk(loop.target) if isinstance(each, ast.Name)}
        for wait in within(loop.body, ast.Await):
            method = getattr(wait.value, "func", None)
            if not (isinstance(method, ast.Attribute) and method.attr in SENDS):
                continue
            member = getattr(method.value, "id", None)
            if member not in names or limited(module, wait, loop):
                continue
            tried = any(isinstance(each, ast.Try) for each in up_to(wait, loop))
            ends = "" if tried else ", and one that left ends the loop"
            yield Report(
                wait.value,
                f"a slow `{member}` holds up the rest{ends}",
                f"group.create_task(...) a child for each `{member}`, which sends under"
                " asyncio.timeout and drops it when that fails",
                hint=tried,
            )


@check("create_task", "ensure_future", "UploadFile", "Depends")
def request_objects_in_a_task(module: Module) -> Iterator[Report]:
    """The upload or the session is closed when the response is sent, and the task goes on."""
    for call, work in (*starts(module), *handed(module)):
        function = function_of(call)
        if not isinstance(function, ast.AsyncFunctionDef) or not isinstance(work, ast.Call):
            continue
        for node in _passed(work):
            instead = instead_of(module, function, node)
            if instead is not None and not joined(module, call):
                yield Report(
                    call,
                    f"FastAPI closes `{node.id}` once the response is sent, and this task goes on",
                    instead,
                )
                break


def _passed(work: ast.Call) -> Iterator[ast.Name]:
    for each in [*work.args, *(each.value for each in work.keywords)]:
        if isinstance(each, ast.Name):
            yield each


@check("create_task")
def a_held_task_is_silent(module: Module) -> Iterator[Report]:
    """Nobody looks at the error of a task that an attribute holds."""
    for call, work in starts(module):
        attribute, runs = unwatched(module, call), callee(module, work)
        if attribute is not None and not (runs and catches_all(*runs)):
            yield Report(
                call,
                f"while `self.{attribute}` holds the task of `{written(work)}`, its error is not"
                " logged",
                f"self.{attribute}.add_done_callback(finished) on the next line",
                hint=True,
            )


@check("TaskGroup", "create_task_group")
def workers_around_the_lifespans_yield(module: Module) -> Iterator[Report]:
    """A worker that crashes ends the others and closes the pools; the server goes on."""
    for group in groups(module):
        function = function_of(group.block)
        if function is None or not module.project.is_lifespan(function, module):
            continue
        if next(within(group.block.body, ast.Yield), None) is None:
            continue
        for call, home, child in children(module, group):
            if not catches_all(home, child):
                yield Report(
                    call,
                    f"when `{child.name}` crashes, the other workers are cancelled and the pools"
                    " close, and the server goes on answering",
                    f"start it through a loop that logs, pauses and restarts `{child.name}`",
                )
