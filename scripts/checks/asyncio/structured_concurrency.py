"""What can be seen in code of rules/asyncio/structured-concurrency.md."""

import ast
from collections.abc import Iterator

from checks import Report, check
from project.module import Module, arguments, function_of, in_coroutine, inside
from subjects.blocking import (
    SYNC_SESSIONS,
    before_requests,
    blocks,
    hashes,
    in_a_job,
    is_program,
    on_session,
)
from subjects.endpoints import endpoints
from subjects.environments import upgrades_on_a_loop
from subjects.handlers import up_to
from subjects.limiters import (
    EXECUTORS,
    LIMITERS,
    SEMAPHORES,
    entered_in_place,
    only_awaited,
    per_item,
    run_of,
    shared,
    thread,
)
from subjects.loops import ASKS, always, begins, called, looped, on_loop, plain
from subjects.queues import joins

LONG = 60  # characters of an argument list that a message still repeats


@check("Semaphore")
def share_one_iterator_between_workers(module: Module) -> Iterator[Report]:
    """A semaphore inside a task bounds what runs, not what is read and waits."""
    for call, source, lazy in per_item(module):
        items = ast.unparse(source)
        yield Report(
            call,
            f"all of `{items}` is read, and a task made for each item, before the first is handled",
            f"a fixed number of workers that share iter({items}), each calling"
            f" `await {ast.unparse(call)}` without the semaphore",
            hint=not lazy,
        )


@check("Semaphore", "Limiter")
def make_one_limiter_per_downstream(module: Module) -> Iterator[Report]:
    """A limiter that one call makes and enters is waited for by no other call."""
    for call in module.calls(*LIMITERS):
        block = entered_in_place(module, call) if in_coroutine(call) else None
        if block is None:
            continue
        what = ast.unparse(call)
        yield Report(
            call,
            f"each call makes its own `{what}`, so none waits for another",
            f"make `{what}` once, in `__init__` or the lifespan, and enter that",
            hint=not isinstance(call.parent, ast.withitem) and _in_loop(block),
        )


@check("to_thread", "run_in_executor")
def let_the_executor_be_the_limit(module: Module) -> Iterator[Report]:
    """A semaphore around a thread is free while the thread of a cancelled caller works on."""
    for block in module.all(ast.AsyncWith):
        slots = block.items[0].context_expr
        if module.value(slots) not in SEMAPHORES or not shared(module, slots):
            continue
        for call in inside(block, ast.Call):
            run = thread(module, call)
            if run and only_awaited(call, block):
                yield Report(
                    call,
                    f"a cancelled caller leaves `{ast.unparse(slots)}` while its thread works on",
                    f"await loop.run_in_executor(threads, copy_context().run, {_brief(run)})"
                    f" on a ThreadPoolExecutor instead of `{ast.unparse(slots)}`",
                )


@check("PoolExecutor")
def executor_in_a_with_block(module: Module) -> Iterator[Report]:
    """Leaving the block joins the executor's workers on the event loop's own thread."""
    for block in module.all(ast.With):
        if not in_coroutine(block) or begins(module, block) or any(inside(block, ast.Yield)):
            continue
        for item in block.items:
            if module.value(item.context_expr) in EXECUTORS:
                pool = ast.unparse(item.optional_vars or item.context_expr)
                yield Report(
                    item.context_expr,
                    "leaving this block stops the event loop until every worker has ended",
                    f"keep one executor from startup to shutdown and use it as `{pool}`",
                )


@check(".join()")
def queue_join_and_dead_workers(module: Module) -> Iterator[Report]:
    """Who waits for a queue waits for ever once nobody is left to empty it."""
    for call, queue, worker in joins(module):
        name = ast.unparse(queue)
        yield Report(
            call,
            f"hangs once an error in `{worker}` has ended its tasks before `{name}` is empty",
            f"start `{worker}` in a TaskGroup with what fills `{name}`, and end each by a None",
        )


@check("async def", "asyncio")
def a_second_loop(module: Module) -> Iterator[Report]:
    """A thread has one running loop: a second one is refused, or shares nothing with the first."""
    if b"nest_asyncio" in module.source:
        return
    if b"upgrade" in module.source:
        yield from (Report(*each) for each in upgrades_on_a_loop(module))
    handlers = {each.function for each in endpoints(module)}
    for call in module.all(ast.Call):
        function = function_of(call)
        run = looped(module, call)
        if run is None:
            if isinstance(function, ast.AsyncFunctionDef) and (inner := _starts(module, call)):
                yield Report(
                    call,
                    f"`{inner}` in `{ast.unparse(call.func)}` raises, because a loop runs here",
                    f"await an `async def {getattr(call.func, 'attr', ast.unparse(call.func))}`",
                )
        elif isinstance(function, ast.AsyncFunctionDef):
            yield Report(
                call,
                f"`{ast.unparse(call.func)}` raises, because a loop runs here",
                f"await {ast.unparse(run)}",
            )
        elif function in handlers or module.project.is_provider(function, module):
            yield Report(
                call,
                "this makes a second loop, where the pools and locks of the server's loop fail",
                f"anyio.from_thread.run({_function_and_arguments(run)})",
            )


@check("Session")
def sync_handler_made_async(module: Module) -> Iterator[Report]:
    """An `async def` handler that awaits nothing keeps the loop while its Session waits."""
    for function in {each.function for each in endpoints(module)}:
        sessions = _only_blocks(module, function)
        if sessions:
            yield Report(
                function,
                f"nothing is awaited here, so `{sessions}` waits for its database on the loop",
                f"def {function.name}(...), which FastAPI runs in a thread",
            )


@check("async def")
def blocking_calls_on_the_loop(module: Module) -> Iterator[Report]:
    """What linters do not list: password hashes, and calls that block one function further."""
    if is_program(module):
        return
    for call in module.all(ast.Call):
        if not in_coroutine(call):
            continue
        alone = before_requests(call)
        if hashes(module, call):
            why = f"`{ast.unparse(call.func)}`"
        elif isinstance(call.parent, ast.Await) or not (found := called(module, call)):
            continue
        elif (inner := blocks(*found)) and plain(found[1]):
            why = f"`{inner}` in `{ast.unparse(call.func)}`"
            alone = alone or in_a_job(module, call)
        else:
            continue
        if _could_be_sync(module, function_of(call)):
            continue  # said of the whole handler
        run = run_of(ast.Call(call.func, [call.func, *call.args], call.keywords), 0)
        yield Report(
            call,
            f"{why} stops the event loop, and every request on it, until it returns",
            f"await asyncio.to_thread({_brief(run)})",
            hint=alone,
        )


def _in_loop(node: ast.AST) -> bool:
    loops = (ast.For, ast.AsyncFor, ast.While)
    return any(isinstance(each, loops) for each in up_to(node, function_of(node)))


def _starts(module: Module, call: ast.Call) -> str | None:
    """The call by which a function that is called here starts a loop, whatever happens."""
    found = None if isinstance(call.parent, ast.Await) else called(module, call)
    if not found or not plain(found[1]) or any(ask in found[0].source for ask in ASKS):
        return None
    if b"asyncio.run(" not in found[0].source:
        return None
    for inner in inside(found[1], ast.Call):
        if looped(found[0], inner) is not None and always(found[1], inner):
            return ast.unparse(inner.func)
    return None


def _function_and_arguments(run: ast.expr) -> str:
    if not isinstance(run, ast.Call):
        return ast.unparse(run)
    if run.keywords:
        return f"lambda: {ast.unparse(run)}"
    return ", ".join(ast.unparse(each) for each in (run.func, *run.args))


def _could_be_sync(module: Module, function: ast.AST) -> bool:
    handlers = {each.function for each in endpoints(module)}
    return function in handlers and _only_blocks(module, function) is not None


def _only_blocks(module: Module, function: ast.AST) -> str | None:
    """The Session by which a handler blocks that could be a `def`, or None."""
    if not isinstance(function, ast.AsyncFunctionDef):
        return None
    for node in inside(function):
        loops = isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith | ast.AsyncFunctionDef)
        if loops or (isinstance(node, ast.comprehension) and node.is_async):
            return None
    sessions = {
        arg.arg
        for arg in arguments(function)
        if module.value(_use_of(function, arg)) in SYNC_SESSIONS
    }
    if not sessions or on_loop(module, function):
        return None
    for call in inside(function, ast.Call):
        if on_session(module, call):
            return ast.unparse(call.func.value)
        found = called(module, call)
        given = [*call.args, *(word.value for word in call.keywords)]
        names = [each.id for each in given if getattr(each, "id", "") in sessions]
        if names and found and plain(found[1]):
            return names[0]
    return None


def _use_of(function: ast.AST, arg: ast.arg) -> ast.Name | None:
    """A place in a function where it reads a parameter."""
    return next((node for node in inside(function, ast.Name) if node.id == arg.arg), None)


def _brief(run: str) -> str:
    if len(run) <= LONG:
        return run
    return f"{run.partition(',')[0]}, ...{')' * run.startswith('partial(')}"
