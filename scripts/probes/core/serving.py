"""Start a server by the user's own command, speak to it, and leave no process behind."""

import asyncio
import os
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import IO

from .wire import Answer, ask

STARTUP = 60.0  # seconds until it answers
TAKEN = "address already in use"
# It leads the server's process group and ends it as soon as its input ends: when we close it, and
# also when we are killed.
GUARD = "trap '' HUP INT TERM; cat >/dev/null; kill -KILL 0"


class StartError(Exception):
    """The server does not start; the message says why, in its own last words."""


class Server:
    """A server's process, its port on loopback, and what it has printed."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: IO[bytes]) -> None:
        self.process, self.port, self._log = process, port, log

    @property
    def text(self) -> str:
        """What it has printed; read without moving the place at which it writes."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def terminate(self) -> None:
        """Send SIGTERM to the process that was started, as an orchestrator does."""
        self.process.send_signal(signal.SIGTERM)

    async def ask(self, path: str, headers: dict[str, str], limit: float = 2.0) -> Answer:
        """GET a path on a connection of its own."""
        return await ask(self.port, "GET", path, headers, limit=limit)


@asynccontextmanager
async def serving(command: str, headers: dict[str, str]) -> AsyncIterator[Server]:
    """Run a command, in which `{port}` becomes a free port, until the block ends.

    Raises StartError when it does not answer HTTP within a minute. It and what it started are
    killed in every case.
    """
    for attempt in range(3):
        port = free_port()
        words = shlex.split(command.replace("{port}", str(port)))
        with _process(words) as (process, log):
            server = Server(process, port, log)
            if not await _answers(server, headers):
                if TAKEN in server.text.lower() and attempt < 2:
                    continue  # another process took the port first
                raise StartError(_why(server))
            yield server
            return


@contextmanager
def _process(words: list[str]) -> Iterator[tuple["subprocess.Popen[bytes]", IO[bytes]]]:
    with tempfile.TemporaryFile() as log:
        guard = subprocess.Popen(
            ["sh", "-c", GUARD],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        try:
            try:
                process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    process_group=guard.pid,
                    env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"},
                )
            except OSError as error:
                raise StartError(f"{words[0]}: {error.strerror}") from error
            try:
                yield process, log
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(guard.pid, signal.SIGKILL)
                process.kill()  # it may have left the group
                process.wait()
        finally:
            guard.kill()
            guard.communicate()


async def _answers(server: Server, headers: dict[str, str]) -> bool:
    """Whether it answers; a listener alone may be a parent whose workers are not up."""
    end = time.monotonic() + STARTUP
    while not server.ended and time.monotonic() < end:
        if (await server.ask("/", headers, limit=5.0)).status:
            return not server.ended  # else it was another process that answered
        await asyncio.sleep(0.05)
    return False


def _why(server: Server) -> str:
    if not server.ended:
        return f"it does not answer on port {server.port}: {server.text.strip()[-700:]}"
    code = server.process.returncode
    return f"it ended with code {code}: {server.text.strip()[-700:]}"


def free_port() -> int:
    """A TCP port on loopback that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
