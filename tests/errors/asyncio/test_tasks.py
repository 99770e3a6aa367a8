"""Texts of task groups, and of tasks and futures that nobody owns."""

import asyncio
import gc
import tempfile

import anyio
import httpx2
from fastapi import FastAPI, HTTPException, UploadFile

from tests.harness.errors import produces
from tests.observers import asgi
from tests.observers.waiting import turns


class NotFoundError(Exception):
    """What a child raises."""


async def fail():
    raise NotFoundError("no such order")


@produces("asyncio", "unhandled errors in a TaskGroup")
async def a_child_of_a_group_fails(cured):
    """A handler awaits a group, and its caller gets the group's error instead of the child's."""
    app = FastAPI()

    @app.get("/")
    async def handler():
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
        except ExceptionGroup as errors:
            _, unexpected = errors.split(NotFoundError)
            if unexpected or not cured:
                raise
            raise HTTPException(404) from None

    exchange = await asgi.request(app)
    if exchange.error:
        raise exchange.error
    assert exchange.status == 404


@produces("asyncio", "Task was destroyed but it is pending")
async def a_task_is_collected_half_done(cured):
    """Nothing refers to a task that waits, but what it waits for."""
    tasks, gate = set(), None

    async def job():
        nonlocal gate
        event = asyncio.Event()
        if cured:
            gate = event
        await event.wait()

    def spawn(coroutine):
        task = asyncio.create_task(coroutine)
        if cured:
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    spawn(job())
    await turns()
    gc.collect()
    if cured:
        gate.set()
        await asyncio.wait(tasks)


@produces("asyncio", "Task exception was never retrieved")
async def a_task_fails_and_nobody_asks(cured):
    """A task fails that nobody awaits."""
    reported = []

    def finished(task):
        if not task.cancelled() and (error := task.exception()):
            reported.append(error)

    task = asyncio.create_task(fail())
    if cured:
        task.add_done_callback(finished)
    await turns()
    assert not cured or [type(error) for error in reported] == [NotFoundError]


@produces("asyncio", "Future exception was never retrieved")
async def a_future_fails_and_nobody_asks(cured):
    """A callback reports an error to a future whose reader has not come."""
    answer = asyncio.get_running_loop().create_future()
    answer.set_exception(NotFoundError("no such order"))
    if cured:
        try:
            await answer
        except NotFoundError:
            return
    del answer
    gathered = asyncio.gather(fail())
    await turns()
    del gathered


@produces("asyncio", "'break', 'continue' and 'return' cannot appear in an except")
def a_group_handler_returns(cured):
    """A handler of a group ends its function."""
    handle = "found = None" if cured else "return None"
    code = f"def f():\n    try: found = 1\n    except* OSError: {handle}\n    return found"
    compile(code, "service.py", "exec")


@produces("asyncio", "cancelling> is shutting down")
async def a_cleanup_starts_a_task_in_its_failed_group(cured):
    """A sibling has failed, and a `finally` in the same group wants to start one more task."""
    released = []

    async def release():
        released.append(True)

    async def work(group):
        try:
            await asyncio.Event().wait()
        finally:
            if cured:
                await release()
            else:
                group.create_task(release())

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(work(group))
            group.create_task(fail())
    except* NotFoundError:
        pass
    assert released == [True]


@produces("asyncio", "Passing coroutines is forbidden, use tasks explicitly")
async def coroutines_are_waited_for(cured):
    """`asyncio.wait` is called as `gather` is."""
    waited = asyncio.create_task(asyncio.sleep(0)) if cured else asyncio.sleep(0)
    await asyncio.wait([waited])


@produces("asyncio", "ClosedResourceError")
async def a_stream_is_used_after_its_block(cured):
    """A task that outlives its owner's block sends on the stream which the block has closed."""
    send, receive = anyio.create_memory_object_stream[int](1)

    async def produce():
        async with send:
            await send.send(1)

    async with receive:
        if cured:
            async with anyio.create_task_group() as group:
                group.start_soon(produce)
                assert await receive.receive() == 1
            return
        async with send:
            late = produce()
        await late


@produces("asyncio", "BrokenResourceError")
async def a_stream_has_lost_its_reader(cured):
    """A producer goes on after the only reader has left."""
    send, receive = anyio.create_memory_object_stream[int](1)
    receive.close()
    async with send:
        try:
            await send.send(1)
        except anyio.BrokenResourceError:
            if not cured:
                raise


@produces("asyncio", "I/O operation on closed file")
async def an_upload_is_read_after_the_answer(cured):
    """A task of one's own reads the uploaded file once the answer is out."""
    app, tasks, answered, stored = FastAPI(), [], asyncio.Event(), []

    @app.post("/")
    async def take(file: UploadFile):
        own = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the task
        while cured and (part := await file.read(2**16)):
            own.write(part)
        own.seek(0)

        async def store():
            with own:
                await answered.wait()
                stored.append(own.read() if cured else await file.read())

        tasks.append(asyncio.create_task(store()))

    client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test")
    async with client:
        await client.post("/", files={"file": b"apple"})
    answered.set()
    await tasks.pop()
    assert stored == [b"apple"]
