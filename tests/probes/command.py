"""scripts/probe.py as a process, and small applications for it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.harness import ROOT

SCRIPT = ROOT / "scripts" / "probe.py"
PLAIN = """
import asyncio, os, sys

async def answer(send, status=200, body=b"ok"):
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})

async def app(scope, receive, send):
    if scope["type"] == "http":
        await answer(send)
"""
ANSWERS = (
    PLAIN.partition("async def app")[0]
    + """
async def app(scope, receive, send):
    assert scope["type"] == "http"
"""
)


def probe(folder: Path, code: str, *options: str, **variables: str) -> Any:
    """Run the script on `main.py` with this code, from its folder."""
    (folder / "main.py").write_text(code, encoding="utf-8")
    return subprocess.run(
        [sys.executable, SCRIPT, *(options or ("main:app", "--request", "GET /"))],
        cwd=folder,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def sent(request: str, *options: str) -> tuple[str, ...]:
    return ("main:app", "--request", request, "--probe", "loop", *options)
