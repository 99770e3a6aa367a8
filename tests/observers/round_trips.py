"""Count how often clients of a server wait for its answer."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class RoundTrips:
    """A TCP relay to a server on loopback; `url` leads through it.

    `count` grows when a client sends after it was answered, or for the first time: what it sends
    at once is one round trip, however many messages it is.
    """

    def __init__(self, url: str) -> None:
        self.count = 0
        self._original = url
        self._listening, self._ended = threading.Event(), asyncio.Event()

    @property
    def url(self) -> str:
        """The server's URL with the relay's port."""
        parts = urlsplit(self._original)
        return self._original.replace(f":{parts.port}", f":{self.port}", 1)

    async def serve(self) -> None:
        """Relay connections until `end` is called, from any thread."""
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._ended.wait()
        server.close()
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def end(self) -> None:
        """Cut all connections."""
        self._loop.call_soon_threadsafe(self._ended.set)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = urlsplit(self._original)
        upstream, downstream = await asyncio.open_connection(server.hostname, server.port)
        answered = True

        async def ask() -> None:
            nonlocal answered
            while data := await reader.read(65536):
                self.count += answered
                answered = False
                downstream.write(data)
            downstream.close()

        async def answer() -> None:
            nonlocal answered
            while data := await upstream.read(65536):
                answered = True
                writer.write(data)
            writer.close()

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ask())
                group.create_task(answer())
        except* ConnectionError:
            pass
        except* asyncio.CancelledError:  # its end, which StreamReader would report as an error
            pass
        finally:
            writer.transport.abort()
            downstream.transport.abort()


@contextmanager
def round_trips(url: str) -> Iterator[RoundTrips]:
    """Relay to the server of this URL while the block runs, in a thread of its own."""
    relay = RoundTrips(url)
    thread = threading.Thread(target=asyncio.run, args=(relay.serve(),))
    thread.start()
    relay._listening.wait(5)
    try:
        yield relay
    finally:
        relay.end()
        thread.join(5)
