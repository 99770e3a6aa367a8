"""The text of nest_asyncio on uvloop, which are no requirements: an environment has them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.errors import produces
from tests.harness.interpreters import uv

pytestmark = pytest.mark.slow

PROGRAM = """
import asyncio
import sys

import nest_asyncio
import uvloop

async def load():
    return "order"

def blocked():
    nest_asyncio.apply()
    return asyncio.run(load())

async def main():
    print(await load() if sys.argv[1:] else blocked())

uvloop.run(main())
"""


@pytest.fixture(scope="module")
def patched(tmp_path_factory) -> Path:
    """The Python of an environment that has both packages."""
    venv = tmp_path_factory.mktemp("patched") / "venv"
    python = venv / "bin" / "python"
    install = ["pip", "install", "-q", "--system-certs", "--python", python]
    for command in (
        ["venv", "-q", "--python", sys.executable, venv],
        [*install, "nest-asyncio==1.6.0", "uvloop==0.22.1"],
    ):
        subprocess.run([uv(), *map(str, command)], check=True, capture_output=True)
    return python


@produces("asyncio", "Can't patch loop of type", limit=20)
def a_patch_meets_a_loop_in_c(patched, cured):
    """A library makes asyncio.run work inside a loop, and the server's loop is uvloop."""
    arguments = ["await"] if cured else []
    command = [patched, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.stdout == ("order\n" if cured else "")
    return done.stderr
