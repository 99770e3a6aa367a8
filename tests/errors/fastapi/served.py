"""What a client gets from an application: called in this process, or served by uvicorn."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from tests.observers.asgi import App, request
from tests.observers.waiting import until


async def ask(app: App, path: str = "/", method: str = "GET", **options: Any) -> str:
    """Status and body of one answer. Raises what the application lets out."""
    exchange = await request(app, path, method, **options)
    if exchange.error is not None:
        raise exchange.error
    return f"{exchange.status} {exchange.body.decode()}"


@asynccontextmanager
async def served(app: Any, **options: Any) -> AsyncGenerator[int, None]:
    """Serve `app` with uvicorn on this loop; yield its port. Its log reaches the root logger."""
    defaults = {"host": "127.0.0.1", "port": 0, "log_config": None, "http": "h11"}
    server = uvicorn.Server(uvicorn.Config(app, **defaults | options))
    serving = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started or serving.done(), limit=60)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def speak(port: int, first: str = "GET / HTTP/1.1", *headers: str) -> str:
    """Send a request of these lines, without a body; return all that comes back."""
    lines = [first, "Host: api", "Connection: close", *headers, "", ""]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join(lines).encode())
        return (await reader.read()).decode()
    finally:
        writer.close()
