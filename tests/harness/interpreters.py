"""Run a script on another version of Python, where the machine has it."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest


@functools.cache
def interpreter(version: str) -> str | None:
    """The path of a working `python{version}` on PATH or under pyenv, or None."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    installed = sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))
    for candidate in [shutil.which(f"python{version}"), *map(str, reversed(installed))]:
        if candidate and not subprocess.run([candidate, "-V"], capture_output=True).returncode:
            return candidate
    return None


def run_on(version: str, script: str, *, limit: float = 20) -> str:
    """Run a script that needs only the standard library; return what it printed.

    Skips the test where the machine has no such interpreter. Raises CalledProcessError when the
    script fails, TimeoutExpired after `limit` seconds.
    """
    path = interpreter(version)
    if path is None:
        pytest.skip(f"needs python{version} on PATH (or under pyenv) to show what it does")
    done = subprocess.run(
        [path, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        timeout=limit,
        check=True,
    )
    return done.stdout.strip()
