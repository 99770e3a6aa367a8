"""Applications for real servers, and what the stop probe says of them."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.observers.shipped import command, script, shipped

POST = '--request=POST /orders {"a": 1}'
BARE = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await started()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await stopped()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await socket(receive, send)
    else:
        await answer(scope["path"], receive, send)

async def started(): ...

async def stopped(): ...

async def answer(path, receive, send):
    body = b""
    while (message := await receive()).get("more_body"):
        body += message["body"]
    status = 401 if path == "/private" else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    while path == "/events":
        await send({"type": "http.response.body", "body": b": ping", "more_body": True})
        await asyncio.sleep(0.05)
    await send({"type": "http.response.body", "body": b"token, please"})
"""


Progress = Callable[[str], object]


def stopped(
    folder: Path, source: str, *arguments: str, progress: Progress = lambda _: None
) -> list[Any]:
    """The verdicts on an application, stored as service.py in a folder."""
    (folder / "service.py").write_text(source, encoding="utf-8")
    return looked("service:app", f"--app-dir={folder}", *arguments, progress=progress)


def looked(*arguments: str, progress: Progress = lambda _: None) -> list[Any]:
    """The verdicts of the stop probe by these arguments."""
    options = script._parser().parse_args(["--probe=stop", *arguments])
    requests = [command.read_request(each, {}) for each in options.request]
    return shipped("stop").look(options, options.app_dir.resolve(), requests, {}, progress)


def uvicorn(folder: Path) -> str:
    """A command that serves the folder's application."""
    words = [sys.executable, "-m", "uvicorn", "--app-dir", str(folder), "service:app", "--port"]
    return shlex.join(words) + " {port}"


def traps(verdicts: list[Any]) -> set[str]:
    """The traps of what was found, by their slugs."""
    return {each.trap.partition("#")[2] for each in verdicts if each.verdict == "found"}


def said(verdicts: list[Any], verdict: str) -> str:
    """What was said with one verdict, a line each."""
    return "\n".join(each.says for each in verdicts if each.verdict == verdict)
