"""Texts of cancellation and async generators, and of what is closed by the wrong hand."""

import asyncio
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import anyio
import pytest

from tests.harness.errors import produces
from tests.observers.waiting import turns


@produces("asyncio", "Attempted to exit cancel scope in a different task")
async def a_scope_is_left_by_another_task(cured):
    """A generator that holds a scope is left open by its reader, and closed by another task."""

    async def rows():
        with anyio.move_on_after(60):
            yield "apple"

    async def first():
        if cured:
            async with aclosing(rows()) as stream:
                async for row in stream:
                    return row
        async for row in rows():
            return row
        return None

    await first()
    await turns()


@produces("asyncio", "async generator ignored GeneratorExit")
async def a_generator_yields_while_it_is_closed(cured):
    """A stream's last event is yielded in `finally`, while the stream is closed."""

    async def events():
        try:
            yield "one"
        finally:
            if not cured:
                yield "[DONE]"
        yield "[DONE]"

    source = events()
    await anext(source)
    await source.aclose()


@asynccontextmanager
async def client():
    """What holds a task group for as long as it is open, as a client of MCP does."""
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 60)
        yield
        group.cancel_scope.cancel()


@produces("asyncio", "Attempted to exit a cancel scope that isn't")
async def the_first_of_two_clients_is_closed_first(cured):
    """Two clients are entered by hand in one task; the cure closes the last one first."""
    clients = [AsyncExitStack(), AsyncExitStack()]
    for each in clients:
        await each.enter_async_context(client())
    for each in reversed(clients) if cured else clients:
        await each.aclose()


@produces("asyncio", "coroutine ignored GeneratorExit")
def a_loop_ends_before_its_task(cured):
    """A task whose cleanup awaits is pending when its loop is closed; the cure waits for it."""

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    task = loop.create_task(work())
    loop.run_until_complete(asyncio.sleep(0))
    if cured:
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
    loop.close()


@pytest.mark.parametrize("sent", [0, 4], ids=["between messages", "after a header"])
@produces("asyncio", "bytes read on a total of")
async def the_other_side_closes(cured, sent):
    """A reader meets the end of the stream; at a header the cure takes it for the end."""

    async def leave(reader, writer):
        writer.write(bytes(8 if cured and sent else sent))
        writer.close()

    async with await asyncio.start_server(leave, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await reader.readexactly(4)
        except asyncio.IncompleteReadError as error:
            if error.partial or not cured:
                raise
        else:
            await reader.readexactly(4)
        finally:
            writer.close()
