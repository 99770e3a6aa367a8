"""Texts of packages that the pins do without: httptools, OpenTelemetry, itsdangerous."""

import functools
import os
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.harness import ROOT
from tests.harness.errors import produces
from tests.test_versions import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PACKAGES = [
    "httptools==0.7.1",
    "itsdangerous==2.2.0",
    "opentelemetry-instrumentation-fastapi==0.66b2",
    "opentelemetry-sdk==1.45.2",
]

COMMON = """
import asyncio
import logging
import sys
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware

from tests.errors.fastapi.served import ask, served, speak

cured = sys.argv[1] == "True"
logging.basicConfig(level="INFO", format="%(levelname)s: %(message)s")
"""

LENGTH = """
async def app(scope: Any, receive: Any, send: Any) -> None:
    headers = [] if cured else [(b"content-length", sys.argv[2].encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"abc"})

async def main() -> None:
    async with served(app, http="httptools", lifespan="off") as port:
        assert "abc" in await speak(port) or not cured

asyncio.run(main())
"""

INSTRUMENTED = """
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

class Service(FastAPI):
    def build_middleware_stack(self):
        return CORSMiddleware(super().build_middleware_stack(), allow_origins=["*"])

app = FastAPI() if cured else Service()
FastAPIInstrumentor.instrument_app(app)
served_app = CORSMiddleware(app, allow_origins=["*"]) if cured else app
assert asyncio.run(ask(served_app)).startswith("404")
"""

SESSION = """
from starlette.middleware.sessions import SessionMiddleware

class Visits:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            Request(scope).session["visits"] = 1
        await self.app(scope, receive, send)

app = FastAPI()
order = [(Visits, {}), (SessionMiddleware, {"secret_key": "not-for-production"})]
for kind, options in order if cured else reversed(order):
    app.add_middleware(kind, **options)

@app.get("/")
async def read(request: Request) -> int:
    return request.session["visits"]

assert asyncio.run(ask(app)) == "200 1"
"""


@functools.cache
def python() -> Path:
    """The interpreter that has these packages beside what they extend."""
    pins = [f"{name}=={version(name)}" for name in ("fastapi", "starlette", "uvicorn")]
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")  # each has its own, as they build at once
    return environment(f"errors-fastapi{worker}", "3.11", [*PACKAGES, *pins])


def printed(script: str, *arguments: object) -> str:
    """What a script prints there; it fails only where the text is an error's."""
    done = subprocess.run(
        [python(), "-c", COMMON + script, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 or arguments[0] is False, done.stderr
    return done.stdout + done.stderr


@produces("fastapi", "Response content longer than Content-Length")
def httptools_counts_too_many_bytes(cured):
    """Two bytes were announced, and three sent."""
    return printed(LENGTH, cured, 2)


@produces("fastapi", "Response content shorter than Content-Length")
def httptools_counts_too_few_bytes(cured):
    """Nine bytes were announced, and three sent."""
    return printed(LENGTH, cured, 9)


@produces("fastapi", "Skipping FastAPI instrumentation due to unexpected middleware stack")
def an_instrumented_application_builds_its_own_stack(cured):
    """What the application returns is CORSMiddleware, where OpenTelemetry expects another."""
    return printed(INSTRUMENTED, cured)


@produces("fastapi", "SessionMiddleware must be installed to access request.session")
def a_middleware_stands_outside_the_session(cured):
    """What is added last runs first."""
    return printed(SESSION, cured)
