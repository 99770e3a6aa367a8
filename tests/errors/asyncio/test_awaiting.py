"""Texts of awaiting too little, too much, or the wrong thing; and of two readers of one source."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from unittest.mock import AsyncMock, MagicMock, Mock

from fastapi import FastAPI

from tests.harness.errors import produces
from tests.observers import asgi


async def load():
    await asyncio.sleep(0)
    return {"apple": 1}


@produces("asyncio", "was never awaited")
async def a_coroutine_is_dropped(cured):
    """An async function is called as if it were a plain one."""
    if cured:
        await load()
    else:
        load()


@produces("asyncio", "'coroutine' object has no attribute")
async def an_attribute_of_a_coroutine_is_read(cured):
    """The result of a call is used before the call is awaited, in code and through a mock."""
    if cured:
        assert list((await load()).items()) == [("apple", 1)]
        session = AsyncMock()
        session.execute.return_value = Mock()
        (await session.execute("SELECT 1")).scalars().all()
        return
    try:
        load().items()
    finally:
        (await AsyncMock().execute("SELECT 1")).scalars().all()


@produces("asyncio", "'coroutine' object is not iterable")
async def a_coroutine_is_answered(cured):
    """A loop, an index and a handler's answer have the coroutine in place of its result."""
    app = FastAPI()

    @app.get("/")
    async def handler():
        return await load() if cured else load()

    exchange = await asgi.request(app)
    if cured:
        assert list(await load()) == list(exchange.json())
        return
    try:
        load()["apple"]
    finally:
        try:
            list(load())
        finally:
            raise exchange.error


@produces("asyncio", "can't be used in 'await' expression", where="python<3.14")
async def a_plain_result_is_awaited(cured):
    """Two plain functions are awaited: one of a mock, and one that returns None."""
    rows: list[str] = []
    if cured:
        rows.append("apple")
        await AsyncMock().commit()
        return
    try:
        await MagicMock().commit()
    finally:
        await rows.append("apple")


@produces("asyncio", "An asyncio.Future, a coroutine or an awaitable is required")
async def a_plain_result_is_gathered(cured):
    """A function without `async` stands among the calls that `gather` awaits."""

    def parse(text):
        return len(text)

    if cured:
        found = await asyncio.gather(load(), asyncio.to_thread(parse, "pear"))
        assert found == [{"apple": 1}, 4]
    else:
        await asyncio.gather(parse("pear"))


@produces("asyncio", "a coroutine was expected, got")
def a_function_is_run(cured):
    """The function is given to asyncio.run and to create_task, and not its call."""

    async def start():
        await asyncio.create_task(load() if cured else load)

    try:
        asyncio.run(load() if cured else load)
    finally:
        asyncio.run(start())


@produces("asyncio", "'async for' requires an object with")
async def a_coroutine_is_iterated(cured):
    """`async for` reads from a call that returns a list."""

    async def rows() -> AsyncIterator[str]:
        yield "apple"

    if cured:
        assert [row async for row in rows()] == list(await load())
        return
    async for _ in load():
        pass


@produces(
    "asyncio", "'coroutine' object does not support the asynchronous context manager protocol"
)
async def a_coroutine_is_entered(cured):
    """`async with` enters the call of an async function that returns a context manager."""

    async def connect():
        return asyncio.timeout(60)

    async with await connect() if cured else connect() as timer:
        assert timer.when()


@produces("asyncio", "Executing <Task")
def the_loop_is_blocked(cured):
    """In debug mode, a coroutine makes a blocking call."""

    async def main():
        asyncio.get_running_loop().slow_callback_duration = 0.4  # more than a busy machine takes
        if cured:
            await asyncio.to_thread(time.sleep, 0.5)
        else:
            time.sleep(0.5)  # noqa: ASYNC251 - it is what the text is about

    asyncio.run(main(), debug=True)


@produces("asyncio", "asynchronous generator is already running")
async def two_workers_share_a_generator(cured):
    """Two workers iterate one async generator."""
    handled: list[str] = []

    async def rows():
        for row in ("apple", "pear", "plum"):
            await asyncio.sleep(0)
            yield row

    async def read(source):
        async for row in source:
            handled.append(row)

    async def worker(queue):
        while (row := await queue.get()) is not None:
            handled.append(row)

    source = rows()
    if not cured:
        await asyncio.gather(read(source), read(source))
    queue: asyncio.Queue[str | None] = asyncio.Queue(2)
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(worker(queue))
        async for row in source:
            await queue.put(row)
        for _ in range(2):
            await queue.put(None)
    assert sorted(handled) == ["apple", "pear", "plum"]


@produces("asyncio", "called while another coroutine is already waiting for incoming data")
async def two_tasks_read_one_connection(cured):
    """Two tasks ask over one connection at once."""

    turn, ended = asyncio.Lock(), asyncio.Event()

    async def echo(reader, writer):
        with suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(line)
        writer.close()
        ended.set()

    async def ask(text):
        writer.write(text)
        return await reader.readline()

    async def ask_in_turn(text):
        async with turn:
            return await ask(text)

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            each = ask_in_turn if cured else ask
            assert await asyncio.gather(each(b"1\n"), each(b"2\n")) == [b"1\n", b"2\n"]
        finally:
            writer.close()
            await ended.wait()
