"""A uvicorn process serving an application written to a file."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import ModuleType

from rulebook.load import module_name
from tests.harness import pages
from tests.servers.ports import free_port

ROOT = Path(__file__).parents[2]


class Server:
    """A running uvicorn: its address, its log, its end."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log_file: Path) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._log_file = log_file

    def log(self) -> str:
        """Everything the process has written so far, stdout and stderr."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    def terminate(self) -> None:
        """Send SIGTERM, as an orchestrator does."""
        self.process.send_signal(signal.SIGTERM)

    async def logged(self, text: str, limit: float = 10) -> bool:
        """Wait until `text` is in the log; False after `limit` seconds or when the process ends."""
        return await self._poll(lambda: text in self.log(), limit)

    async def stopped(self, limit: float = 10) -> bool:
        """Wait for the process to end; False after `limit` seconds."""
        return await self._poll(lambda: self.process.poll() is not None, limit)

    async def _poll(self, condition, limit: float) -> bool:
        try:
            async with asyncio.timeout(limit):
                while not condition() and self.process.poll() is None:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pass
        return condition()


def source_of(half: ModuleType) -> str:
    """The code of a loaded half as its page has it, to be served with a few lines added.

    A hollow half gives the full code: drive it in this process first, where it fails.
    """
    halves = [each for page in pages().values() for each in page.halves]
    return next(each.block.code for each in halves if module_name(each) == half.__name__)


@asynccontextmanager
async def uvicorn(
    source: str,
    *arguments: str,
    env: dict[str, str] | None = None,
    limit: float = 20,
    python: str = sys.executable,
) -> AsyncIterator[Server]:
    """Serve `source`, a module that defines `app`, until the block ends.

    `arguments` are uvicorn's own. The module can import `tests`, unless another `python` runs it.
    Raises RuntimeError with the log when the server is not up within `limit` seconds; the process
    is killed in every case.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "service.py").write_text(source, encoding="utf-8")
        log_file = Path(folder) / "log"
        port = free_port()
        command = [python, "-u", "-m", "uvicorn", "service:app", "--port", str(port)]
        with log_file.open("wb") as log:
            process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                [*command, *arguments],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": f"{folder}:{ROOT}"} | (env or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that `--workers` end with their parent
            )
        server = Server(process, port, log_file)
        try:
            if not await server.logged("Uvicorn running on", limit):
                raise RuntimeError(f"uvicorn did not start:\n{server.log()}")
            yield server
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
