"""A server that goes silent with its connections open, as behind a firewall that drops packets."""

import asyncio
from typing import Self


class Silenced:
    """A TCP proxy to a port on loopback that passes bytes until `silent` is set to True.

    It then swallows them: nothing is closed, and new connections are accepted and stay unanswered.
    """

    def __init__(self, port: int) -> None:
        self.target, self.silent = port, False
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def instead_of(self, url: str) -> str:
        """The URL of a server on the target port, led through this proxy."""
        return url.replace(f":{self.target}/", f":{self.port}/")

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._relay(reader, writer)))

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                if not self.silent:
                    target.write(data)
            if not self.silent:
                target.close()

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(copy(reader, server_writer))
                group.create_task(copy(server_reader, writer))
        finally:
            writer.transport.abort()
            server_writer.transport.abort()
