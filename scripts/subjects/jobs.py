"""Work that is queued: FastAPI's background tasks and procrastinate's jobs."""

import ast
from collections.abc import Iterator

from project.module import FUNCTIONS, Module, function_of, inside, statement_of

QUEUES = ("procrastinate.App", "procrastinate.Blueprint")


def added(module: Module, call: ast.Call) -> bool:
    """Whether a call adds a task to FastAPI's BackgroundTasks."""
    if getattr(call.func, "attr", "") != "add_task" or not call.args:
        return False
    return module.value(call.func.value) == "fastapi.BackgroundTasks"


def transactions(module: Module) -> Iterator[ast.AsyncWith]:
    """The `async with ....begin()` blocks of a module."""
    for block in module.all(ast.AsyncWith):
        for item in block.items:
            if getattr(getattr(item.context_expr, "func", None), "attr", "") == "begin":
                yield block
                break


def deferred_alone(module: Module, block: ast.AsyncWith) -> Iterator[tuple[ast.Call, ast.expr]]:
    """Jobs deferred in a transaction whose connection they were not given."""
    for call in inside(block, ast.Call):
        if getattr(call.func, "attr", "") != "defer_async":
            continue
        job = call.func.value
        if isinstance(job, ast.Name | ast.Attribute) and not _configured(module, job):
            yield call, job


def added_after(module: Module, block: ast.AsyncWith) -> Iterator[ast.Call]:
    """Background tasks that the function of a transaction adds in or after it."""
    function = function_of(block)
    for call in inside(function, ast.Call) if function is not None else ():
        if call.lineno > block.lineno and added(module, call):
            yield call


def raises_after(call: ast.Call) -> bool:
    """Whether the block of a call's statement raises further down."""
    statement = statement_of(call)
    block = getattr(statement.parent, statement.slot)
    rest = block[block.index(statement) + 1 :] if isinstance(block, list) else []
    return any(isinstance(each, ast.Raise) for each in rest)


def without_retry(module: Module) -> Iterator[tuple[ast.AST, ast.expr, ast.Attribute]]:
    """procrastinate's tasks that say nothing of `retry`, as function, decorator, its `app.task`."""
    for function in module.all(*FUNCTIONS):
        marks = {_mark(each): each for each in function.decorator_list}
        task = marks.get("task")
        owner = task.func if isinstance(task, ast.Call) else task
        if "periodic" in marks or not isinstance(owner, ast.Attribute):
            continue
        words = {each.arg for each in getattr(task, "keywords", [])}
        if module.value(owner.value) in QUEUES and not {"retry", None} & words:
            yield function, task, owner


def _configured(module: Module, job: ast.expr) -> bool:
    """Whether a job was given a connection where its name was bound."""
    function = function_of(job)
    if not isinstance(job, ast.Name) or function is None:
        return False
    bound = module.bindings(function).get(job.id, ())
    values = [getattr(each.parent, "value", None) for each in bound]
    return any(isinstance(each, ast.Call) for each in values)


def _mark(node: ast.expr) -> str:
    func = node.func if isinstance(node, ast.Call) else node
    return getattr(func, "attr", "")
