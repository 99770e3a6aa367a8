"""Texts of what a cancel, a signal or a lost peer leaves behind."""

import asyncio
import logging
import os
import signal
import socket
import threading
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar

import anyio
from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from tests.harness.errors import produces

PIPE = asyncio.subprocess.PIPE
tenant = ContextVar("tenant", default="")


@produces("asyncio", "Cancelled via cancel scope")
async def a_deadline_is_logged_as_a_failure(cured):
    """A deadline ends a task, whose handler of errors logs the cancel."""
    caught, cleaned = Exception if cured else BaseException, []
    with anyio.move_on_after(0.001):
        try:
            await anyio.sleep_forever()
        except caught:
            logging.getLogger("job").exception("job failed")
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
                cleaned.append(True)
    assert cleaned == [True]


@produces("asyncio", "an error occurred during closing of asynchronous generator")
def a_program_ends_with_a_generator_open(cured):
    """A generator yields inside a task group, and the program ends before its reader does."""
    kept = []

    async def rows():
        async with anyio.create_task_group():
            yield "apple"

    @asynccontextmanager
    async def opened():
        async with anyio.create_task_group():
            yield iter(["apple"])

    async def main():
        if cured:
            async with opened() as source:
                return next(source)
        kept.append(rows())
        return await anext(kept[0])

    assert asyncio.run(main()) == "apple"


@produces("asyncio", "was created in a different Context")
async def a_generator_resets_a_variable_elsewhere(cured):
    """A generator sets a context variable, and the task that closes it is not its reader's."""

    async def rows():
        before = tenant.get()
        token = tenant.set("acme")
        try:
            yield "apple"
        finally:
            if cured:
                tenant.set(before)
            else:
                tenant.reset(token)

    source = rows()
    await anext(source)
    await asyncio.create_task(source.aclose())


@produces("asyncio", "BaseSubprocessTransport", where="python<3.14")
def a_program_outlives_its_deadline(cured):
    """A deadline ends the wait for a program, and the loop ends before the program does."""

    async def main():
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        try:
            async with asyncio.timeout(0.001):
                await process.stdout.read()
        except TimeoutError:
            pass
        finally:
            if cured:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return process

    process = asyncio.run(main())
    if cured:
        assert process.returncode == -signal.SIGKILL
        return
    os.kill(process.pid, signal.SIGKILL)
    for thread in threading.enumerate():
        if "waitpid" in thread.name:  # of Python 3.11
            thread.join()
    with suppress(ChildProcessError):
        os.waitpid(process.pid, 0)


@produces("asyncio", "InvalidStateError: invalid state")
async def a_result_comes_after_the_deadline(cured):
    """A callback delivers what nobody waits for any more."""
    answer = asyncio.get_running_loop().create_future()
    with suppress(TimeoutError):
        await asyncio.wait_for(answer, 0.001)
    if not (cured and answer.done()):
        answer.set_result("late")


@produces("asyncio", "Event loop stopped before Future completed")
def a_signal_stops_the_loop(cured):
    """A handler of SIGTERM stops the loop below the coroutine that it runs."""
    cleaned = []

    async def work():
        try:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            cleaned.append(asyncio.get_running_loop().is_running())

    async def main():
        loop = asyncio.get_running_loop()
        worker = asyncio.create_task(work())
        loop.add_signal_handler(signal.SIGTERM, worker.cancel if cured else loop.stop)
        await asyncio.wait([worker])

    asyncio.run(main())
    assert cleaned == [True]


@produces("asyncio", "only works in main thread of the main interpreter")
async def a_thread_installs_signal_handlers(cured):
    """A loop in a thread, as that of a TestClient's lifespan, wants to hear of SIGTERM."""
    served = []

    async def serve():
        if not cured or threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print)
        served.append(True)

    def install():
        if not cured or threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    try:
        await asyncio.to_thread(install)
    finally:
        await asyncio.to_thread(asyncio.run, serve())
    assert served == [True]


@produces("asyncio", "socket.send() raised exception")
async def a_lost_connection_is_written_to(cured):
    """A stream goes on after its peer has reset the connection."""

    async def reset(reader, writer):
        at_once = (1).to_bytes(4, "little") + bytes(4)
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        writer.close()

    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        with suppress(ConnectionError):
            await reader.read()
        try:
            for _ in range(9):
                writer.write(b"event")
                if cured:
                    await writer.drain()
        except ConnectionError:
            pass
        else:
            assert not cured, "the loss went unnoticed"
        finally:
            writer.close()


@produces("asyncio", "starlette.requests.ClientDisconnect")
async def a_client_leaves_during_its_upload(cured):
    """The connection ends before the body does that a handler reads."""
    app, sent = FastAPI(), []

    @app.post("/")
    async def handler(request: Request):
        return len(await request.body())

    if cured:

        @app.exception_handler(ClientDisconnect)
        async def gone(request: Request, error: ClientDisconnect):
            return Response(status_code=499)

    messages = [
        {"type": "http.request", "body": b"first", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    await app(scope, receive, send)
    assert sent[0]["status"] == 499
