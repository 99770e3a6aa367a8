"""Texts of uvicorn about WebSockets that were refused."""

from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, WebSocket, WebSocketException
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.errors.fastapi.causes import texts
from tests.errors.fastapi.served import served
from tests.harness.errors import produces


async def opened(app: FastAPI) -> str:
    """What a client learns that opens a WebSocket and waits for its end: status, or code."""
    async with served(app, ws="websockets-sansio") as port:
        try:
            async with connect(f"ws://127.0.0.1:{port}/ws") as socket:
                await socket.wait_closed()
        except InvalidStatus as refused:
            return str(refused.response.status_code)
    return f"{socket.close_code} {socket.close_reason}".strip()


async def a_socket_has_another_path(cured):
    """The client leaves out the router's prefix."""
    app = FastAPI()

    @app.websocket("/ws" if cured else "/api/ws")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    assert await opened(app) == ("1000" if cured else "403")


async def a_dependency_refuses_a_socket(cured):
    """A refusal after `accept()` arrives as a close code with its reason."""
    app = FastAPI()

    async def get_user(socket: WebSocket) -> str:
        if cured:
            await socket.accept()
        raise WebSocketException(1008, "log in first")

    @app.websocket("/ws")
    async def talk(socket: WebSocket, user: Annotated[str, Depends(get_user)]) -> None: ...

    assert await opened(app) == ("1008 log in first" if cured else "403")


@produces("fastapi", "connection rejected (403 Forbidden)")
async def a_socket_is_refused(cured):
    """A wrong path looks like a refusal."""
    return await texts(cured, a_socket_has_another_path, a_dependency_refuses_a_socket)


async def an_http_exception_refuses_a_socket(cured):
    """Its status reaches the client, and uvicorn complains all the same."""
    app = FastAPI()

    @app.websocket("/ws")
    async def talk(socket: WebSocket) -> None:
        raise WebSocketException(1008) if cured else HTTPException(401)

    assert await opened(app) == ("403" if cured else "401")


async def an_endpoint_neither_accepts_nor_closes(cured):
    """It returns early."""
    app = FastAPI()

    @app.websocket("/ws")
    async def talk(socket: WebSocket) -> None:
        if cured:
            await socket.close(1008)

    assert await opened(app) == ("403" if cured else "500")


@produces("fastapi", "ASGI callable returned without completing handshake.")
async def a_handshake_has_no_end(cured):
    """An answer of HTTP, or none at all."""
    return await texts(
        cured, an_http_exception_refuses_a_socket, an_endpoint_neither_accepts_nor_closes
    )
