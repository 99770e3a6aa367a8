"""When the code after `yield` runs, by release of FastAPI; each in an environment of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT, confirms
from tests.harness.interpreters import uv

CACHE = ROOT / ".cache" / "eras"
AFTER = ["endpoint", "response", "background", "exit"]
BEFORE = ["endpoint", "exit", "response", "background"]

# Only ASGI and FastAPI, so that it runs under each release without further packages.
SCRIPT = """
import asyncio, inspect, json
from fastapi import BackgroundTasks, Depends, FastAPI

def order(**options):
    app, seen = FastAPI(), []

    async def provide():
        yield
        seen.append("exit")

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks, provided=Depends(provide, **options)) -> str:
        seen.append("endpoint")
        tasks.add_task(seen.append, "background")
        return ""

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        if message["type"] == "http.response.body":
            seen.append("response")

    scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "root_path": "",
             "query_string": b"", "headers": [], "http_version": "1.1", "scheme": "http",
             "asgi": {"version": "3.0", "spec_version": "2.3"}}
    asyncio.run(app(scope, receive, send))
    return seen

known = inspect.signature(Depends).parameters
print(json.dumps({
    "default": order(),
    "function": order(scope="function") if "scope" in known else None,
    "max_concurrency": "max_concurrency" in known,
}))
"""


def python_with(release: str) -> str:
    """A Python that has this release of FastAPI; made on first use, complete or not at all."""
    home = CACHE / release.replace("<", "before-").replace("==", "")
    if not home.exists():
        part = home.with_name(f"{home.name}.{os.getpid()}.part")
        python = str(part / "bin" / "python")
        make = [uv(), "venv", "--quiet", "--relocatable", "--python", sys.executable, str(part)]
        fill = [uv(), "pip", "install", "--quiet", "--system-certs", "--python", python, f"fastapi{release}"]
        for command in (make, fill):
            subprocess.run(command, check=True, timeout=120, stdin=subprocess.DEVNULL)
        try:
            part.rename(home)
        except OSError:  # another run was first
            shutil.rmtree(part)
    return str(home / "bin" / "python")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("release", "default", "function", "limits"),
    [
        ("<0.106", AFTER, None, False),
        ("==0.106.0", BEFORE, None, False),
        ("<0.118", BEFORE, None, False),
        ("==0.118.0", AFTER, None, False),
        ("<0.121", AFTER, None, False),
        ("==0.121.0", AFTER, BEFORE, False),
        ("<0.163", AFTER, BEFORE, False),
        ("==0.163.0", AFTER, BEFORE, True),
        ("installed", AFTER, BEFORE, None),
    ],
)
@confirms("fastapi/dependencies", "exit-code-moved-twice")
def the_order_of_exit_and_response_is_that_of_its_era(release, default, function, limits):
    """Exit, response and background task come in the order the rule gives for that release."""
    python = sys.executable if release == "installed" else python_with(release)

    done = subprocess.run(
        [python, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["default"], seen["function"]) == (default, function)
    assert limits in (None, seen["max_concurrency"])
