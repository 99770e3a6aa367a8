"""What differs between releases of FastAPI; each in an environment of its own."""

import json
import os
import shutil
import subprocess
import sys

import aiohttp
import pytest

from tests.harness import ROOT, confirms, correct
from tests.harness.interpreters import uv
from tests.rules.fastapi.test_dependencies_tokens import KEY, token
from tests.servers.uvicorn import source_of, uvicorn

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


def python_with(release: str, *packages: str) -> str:
    """A Python with this release of FastAPI; made on first use, complete or not at all."""
    home = CACHE / "-".join([release.replace("<", "before-").replace("==", ""), *packages])
    if not home.exists():
        part = home.with_name(f"{home.name}.{os.getpid()}.part")
        python = str(part / "bin" / "python")
        make = [uv(), "venv", "--quiet", "--relocatable", "--python", sys.executable, str(part)]
        fill = [uv(), "pip", "install", "--quiet", "--system-certs", "--python", python]
        fill += [f"fastapi{release}", *packages]
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
def test_the_order_of_exit_and_response_is_that_of_its_era(release, default, function, limits):
    """Exit, response and background task: the rule's order holds from 0.121, with scopes."""
    python = sys.executable if release == "installed" else python_with(release)

    done = subprocess.run(
        [python, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["default"], seen["function"]) == (default, function)
    assert limits in (None, seen["max_concurrency"])


# What the rule's half is served with: FastAPI, PyJWT and a server that speaks WebSocket.
SERVE = """

from contextlib import asynccontextmanager
from types import SimpleNamespace
from fastapi import FastAPI, WebSocket
from pydantic import SecretStr

@asynccontextmanager
async def lifespan(app):
    yield {{"settings": SimpleNamespace(jwt_key=SecretStr("{key}"))}}

app = FastAPI(lifespan=lifespan)

class Bearer(OAuth2PasswordBearer):
    async def __call__(self, request: HTTPConnection):
        return await super().__call__(request)

if {subclass}:
    app.dependency_overrides[Token.__metadata__[0].dependency] = Bearer("login")

@app.get("/")
async def read(user: Annotated[str, Depends(get_user_id)]):
    return user

@app.websocket("/feed")
async def feed(socket: WebSocket, user: Annotated[str, Depends(get_user_id)]):
    await socket.accept()
    await socket.send_text(user)
    await socket.close()
"""


async def feed(http: aiohttp.ClientSession, url: str, sent: str) -> str | int:
    """What a WebSocket client reads, or the status that refused it."""
    try:
        async with http.ws_connect(f"{url}/feed", headers={"authorization": sent}) as socket:
            return await socket.receive_str()
    except aiohttp.WSServerHandshakeError as error:
        return error.status


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("release", "subclass", "answers"),
    [
        ("==0.122.0", False, [500, 500]),
        ("==0.122.0", True, ["ann", 401]),
        ("<0.144", False, [500, 500]),
        ("<0.144", True, ["ann", 401]),
        ("==0.144.0", False, ["ann", 401]),
        ("==0.165.0", False, ["ann", 401]),
        ("==0.165.0", True, ["ann", 401]),
    ],
)
@confirms("fastapi/dependencies", "tokens-from-browsers", limit=240)
async def a_socket_behind_a_real_server_is_let_in_by_its_header(release, subclass, answers):
    """The token half answers HTTP in each release, and WebSockets from 0.144, or by a subclass."""
    half = correct("fastapi/dependencies", "tokens-that-expire")
    service = source_of(half) + SERVE.format(key=KEY, subclass=subclass)
    python = python_with(release, "uvicorn", "websockets", "pyjwt")
    good, expired = f"Bearer {token()}", f"Bearer {token(exp=1)}"

    async with uvicorn(service, python=python) as server, aiohttp.ClientSession() as http:
        plain = await http.get(server.url, headers={"authorization": good})
        refused = await http.get(server.url, headers={"authorization": expired})
        seen = [await feed(http, server.url, good), await feed(http, server.url, expired)]
        log = server.log()

    assert (plain.status, refused.status) == (200, 401)
    assert seen == answers
    assert ("missing 1 required positional argument: 'request'" in log) is (500 in answers)
