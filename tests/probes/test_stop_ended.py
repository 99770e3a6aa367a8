"""What the stop probe started ends with it, however it ends itself."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness import ROOT
from tests.observers.shipped import shipped

DEAF = """
import fcntl, os, signal, subprocess
from pathlib import Path

lock = open("held", "w")

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        fcntl.flock(lock, fcntl.LOCK_EX)  # held until the child has ended too
        subprocess.Popen(["sleep", "600"], pass_fds=[lock.fileno()])
        signal.signal(signal.SIGTERM, lambda *_: Path("told").touch())
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})
"""


def until(condition: Callable[[], bool], limit: float = 20) -> bool:
    """Whether it comes true within `limit` seconds."""
    end = time.monotonic() + limit
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def free(path: Path) -> bool:
    """Whether no process has this file locked."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def probing(folder: Path, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The script beside an application whose server ignores SIGTERM."""
    (folder / "service.py").write_text(DEAF, encoding="utf-8")
    command = [sys.executable, ROOT / "scripts" / "probe.py", "service:app", "--probe=stop"]
    with subprocess.Popen(
        [*command, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"ORDERS_DATABASE_URL": ""},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_nothing_is_left_when_the_probe_has_told(tmp_path) -> None:
    """The server that did not end is ended, its child too; the exit status says found."""
    with probing(tmp_path, "--patience=0.5", "--json") as process:
        out, _ = process.communicate(timeout=40)

    assert process.returncode == 1
    assert [each["verdict"] for each in json.loads(out)["probes"]] == ["found"]
    assert until(lambda: free(tmp_path / "held"))


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_probe_is_ended(end, tmp_path) -> None:
    """Killed, terminated, or by Ctrl-C in the middle of its wait: its server and its child go."""
    with probing(tmp_path) as process:
        assert until((tmp_path / "told").exists)
        assert not free(tmp_path / "held")
        process.send_signal(end)
        _, messages = process.communicate(timeout=20)

    assert until(lambda: free(tmp_path / "held"))
    assert (b"interrupted" in messages) is (end == signal.SIGINT)


def test_nothing_is_left_of_what_does_not_start(tmp_path) -> None:
    """A server that never answers is ended with its children when the wait is over."""
    serving = shipped("core.serving")
    lock = tmp_path / "held"
    lock.touch()
    words = [sys.executable, "-c", HOLDS, str(lock)]
    with serving._process(words) as (process, _):
        assert until(lambda: not free(lock))

    assert until(lambda: free(lock))
    assert process.returncode == -signal.SIGKILL


def test_a_server_that_leaves_its_group_is_ended_too() -> None:
    """As one that is started by `setsid`; nobody waits for it for ever."""
    leaves = "import os, time; os.setsid(); print('left', flush=True); time.sleep(600)"
    serving = shipped("core.serving")
    with serving._process([sys.executable, "-c", leaves]) as (process, log):
        assert until(lambda: serving.Server(process, 0, log).text == "left\n")

    assert process.returncode == -signal.SIGKILL


HOLDS = """
import fcntl, subprocess, sys
lock = open(sys.argv[1])
fcntl.flock(lock, fcntl.LOCK_EX)
subprocess.run(["sleep", "600"], pass_fds=[lock.fileno()])
"""
