"""Proofs of how a WebSocket's handler ends, for rules/fastapi/lifespan.md."""

import asyncio

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from tests.harness import confirms
from tests.observers.asgi import SPEC
from tests.observers.waiting import turns

PAGE = "fastapi/lifespan"


@confirms(PAGE, "websockets-that-only-send")
async def a_socket_handler_sees_its_client_leave_only_where_it_reads():
    """The one that waits for news goes on; the one that reads beside its sender ends."""
    app = FastAPI()

    async def send(socket: WebSocket) -> None:
        news: asyncio.Queue[str] = asyncio.Queue()
        while True:
            await socket.send_text(await news.get())

    @app.websocket("/sends")
    async def sends(socket: WebSocket) -> None:
        await socket.accept()
        await send(socket)

    @app.websocket("/reads")
    async def reads(socket: WebSocket) -> None:
        await socket.accept()
        async with asyncio.TaskGroup() as group:
            sender = group.create_task(send(socket))
            while (await socket.receive())["type"] == "websocket.receive":
                pass
            sender.cancel()

    tasks = {}
    for path in ("/sends", "/reads"):
        inbox: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        scope = {
            "type": "websocket",
            "asgi": SPEC,
            "path": path,
            "query_string": b"",
            "headers": [],
        }
        tasks[path] = asyncio.create_task(app(scope, inbox.get, drop))
        inbox.put_nowait({"type": "websocket.connect"})
        inbox.put_nowait({"type": "websocket.receive", "bytes": b"ping"})
        inbox.put_nowait({"type": "websocket.disconnect", "code": 1001})
    await asyncio.wait({tasks["/reads"]}, timeout=5)
    await turns(50)
    left = [path for path, task in tasks.items() if task.done()]
    tasks["/sends"].cancel()
    await asyncio.wait(tasks.values())

    assert left == ["/reads"]
    assert tasks["/reads"].exception() is None


@confirms(PAGE, "websockets-that-only-send")
async def a_send_that_fails_before_the_goodbye_was_read_is_no_crash_where_it_is_caught():
    """The TaskGroup wraps what a server says of a client that is gone; nothing else is hidden."""
    ends = {}
    for caught in (False, True):
        app = FastAPI()

        @app.websocket("/")
        async def push(socket: WebSocket, caught=caught) -> None:
            await socket.accept()
            try:
                async with asyncio.TaskGroup() as group:
                    sender = group.create_task(socket.send_text("news"))
                    while (await socket.receive())["type"] == "websocket.receive":
                        pass
                    sender.cancel()
            except* WebSocketDisconnect:
                if not caught:
                    raise

        inbox: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        inbox.put_nowait({"type": "websocket.connect"})
        scope = {"type": "websocket", "asgi": SPEC, "path": "/", "query_string": b"", "headers": []}
        task = asyncio.create_task(app(scope, inbox.get, gone))
        await asyncio.wait({task}, timeout=5)
        ends[caught] = type(task.exception())

    assert ends == {False: ExceptionGroup, True: type(None)}


async def gone(message) -> None:
    """Send to a client that is gone, as uvicorn tells it: by an OSError."""
    if message["type"] == "websocket.send":
        raise OSError


async def drop(message) -> None:
    """Send to nobody."""
