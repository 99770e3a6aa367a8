"""Run a script on another version of Python, where the machine has it."""

import functools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@functools.cache
def interpreter(version: str) -> str | None:
    """The path of a working `python{version}` on PATH or beside this one, or None."""
    siblings = Path(sys.base_prefix).parent  # pyenv and uv keep versions side by side
    installed = sorted(siblings.glob(f"*{version}.*/bin/python{version}"))
    for candidate in [shutil.which(f"python{version}"), *map(str, reversed(installed))]:
        if candidate and not subprocess.run([candidate, "-V"], capture_output=True).returncode:
            return candidate
    return None


def uv() -> str:
    """The installer that tests may use, or a skip that says how to get it."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        pytest.skip("needs uv: pip install uv")
    return found


def run_on(version: str, script: str, *, limit: float = 20) -> str:
    """Run a script that needs only the standard library; return what it printed.

    Skips the test where the machine has no such interpreter. Raises CalledProcessError when the
    script fails, TimeoutExpired after `limit` seconds.
    """
    path = interpreter(version)
    if path is None:
        pytest.skip(f"needs python{version} on PATH to show what it does")
    done = subprocess.run(
        [path, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        timeout=limit,
        check=True,
    )
    return done.stdout.strip()
