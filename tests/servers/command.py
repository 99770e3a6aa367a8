"""Any command that serves an application written to a file: other servers, start scripts."""

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.servers.ports import free_port
from tests.servers.uvicorn import Server


@asynccontextmanager
async def serving(
    source: str, command: Sequence[str | Path], *, script: str = "", limit: float = 20
) -> AsyncIterator[Server]:
    """Run `command` beside `source`, stored as service.py, until the block ends.

    `{port}` in the command and in `script`, stored as start.sh, is a free port. The server's
    process is the command itself: `terminate()` tells nobody else. Raises RuntimeError with the
    log when nothing accepts connections within `limit` seconds; its group is killed in every case.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "service.py").write_text(source, encoding="utf-8")
        (Path(folder) / "start.sh").write_text(script.replace("{port}", str(port)))
        log_file = Path(folder) / "log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                [str(part).replace("{port}", str(port)) for part in command],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": folder, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Server(process, port, log_file)
        try:
            if not await _accepts(server, limit):
                raise RuntimeError(f"{command} did not start:\n{server.log()}")
            yield server
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


async def _accepts(server: Server, limit: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(limit):
            while server.process.poll() is None:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                    writer.close()
                    return True
                await asyncio.sleep(0.02)
    return False
