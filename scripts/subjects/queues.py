"""asyncio's queues, and the tasks that work through them."""

import ast
from collections.abc import Iterator

from project.module import Module, function_of, inside

from subjects.lifespans import catches
from subjects.loops import called

QUEUES = ("asyncio.Queue", "asyncio.PriorityQueue", "asyncio.LifoQueue")


def joins(module: Module) -> Iterator[tuple[ast.Call, ast.expr, str]]:
    """Waits for a queue whose workers one error ends: the call, the queue, a worker's name."""
    for call in module.all(ast.Call):
        joined = getattr(call.func, "attr", "") == "join" and isinstance(call.parent, ast.Await)
        function = function_of(call)
        if not joined or function is None or module.value(call.func.value) not in QUEUES:
            continue
        for start in inside(function, ast.Call):
            worker = start.args[0] if start.args else None
            own = module.name(start.func) in ("asyncio.create_task", "asyncio.ensure_future")
            found = called(module, worker) if own and isinstance(worker, ast.Call) else None
            if found and _dies(*found):
                yield call, call.func.value, ast.unparse(worker.func)
                break


def _dies(module: Module, worker: ast.AST) -> bool:
    """Whether a function takes items in a loop that an error in its work ends."""
    for loop in inside(worker, ast.While):
        done = [
            call for call in inside(loop, ast.Call) if getattr(call.func, "attr", "") == "task_done"
        ]
        handlers = inside(loop, ast.ExceptHandler)
        if done and not any(catches(module, each) for each in handlers):
            return True
    return False
