"""The service in examples/orders as a process, on a database of either kind."""

import asyncio
import json
import os
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
import psycopg

from tests.harness import ROOT
from tests.servers.http import Answer, CountingServer, Request
from tests.servers.postgres import Database
from tests.servers.uvicorn import Server, uvicorn

EXAMPLES = ROOT / "examples"
USAGE = (EXAMPLES / "orders" / "__init__.py").read_text("utf-8").replace("\\\n", "").splitlines()
COMMANDS = [shlex.split(line) for line in USAGE if line.startswith("    ")]
SITE = "https://shop.example"
SOURCE = """
from orders.main import api, wrapped
async def crash():
    raise RuntimeError("a detail of ours")
def app():
    api.add_api_route("/crash", crash)
    return wrapped(api)
"""


@dataclass(frozen=True)
class Backend:
    """A database for the example."""

    url: str
    postgres: Database | None = None

    def lock(self) -> Any:
        """A context in which nobody else reads orders."""
        if self.postgres:
            connection: Any = psycopg.connect(self.postgres.url)
            connection.execute("LOCK TABLE orders")
        else:
            connection = sqlite3.connect(self.url.partition("///")[2], isolation_level=None)
            connection.execute("BEGIN EXCLUSIVE")
        return closing(connection)


@dataclass(frozen=True)
class Service:
    """The running example, a client of it, and `run` for what is asynchronous."""

    server: Server
    client: httpx2.Client
    run: Callable[[Coroutine[Any, Any, Any]], Any]

    def place(self, reference: str = "", **headers: str) -> httpx2.Response:
        lines = [{"sku": "nut", "quantity": 2}, {"sku": "bolt", "quantity": 3}]
        body = {"reference": reference or uuid4().hex, "lines": lines}
        return self.client.post("/orders", json=body, headers=headers)

    def access(self, request_id: str) -> list[dict[str, Any]]:
        """The access lines with this id, once there is one."""
        self.run(self.server.logged(f'"{request_id}"'))
        lines = [json.loads(line) for line in self.server.log().splitlines() if line[:1] == "{"]
        return [line for line in lines if line["request_id"] == request_id]


async def carrier(request: Request) -> Answer:
    """Quotes five items, or answers nonsense, or not at all, or fails."""
    if request.path.startswith("/late"):
        await asyncio.Event().wait()
    answers = {"/quick?items=5": Answer(b'"4.20"'), "/nonsense?items=5": Answer(b"[")}
    return answers.get(request.path, Answer(status=500))


@contextmanager
def serving(backend: Backend) -> Iterator[Service]:
    """The documented commands, with a small pool and short waits."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())

        def enter(context: Any) -> Any:
            entered = runner.run(context.__aenter__())
            stack.callback(lambda: runner.run(context.__aexit__(None, None, None)))
            return entered

        carriers = enter(CountingServer(carrier))
        urls = {name: f"{carriers.url}/{name}" for name in ("quick", "nonsense", "broken", "late")}
        urls["gone"] = "http://127.0.0.1:1"
        env = {"ORDERS_DATABASE_URL": backend.url, "ORDERS_CARRIERS": json.dumps(urls)}
        env |= {"ORDERS_POOL_SIZE": "2", "ORDERS_POOL_TIMEOUT": "0.2"}
        env |= {"ORDERS_QUOTE_SECONDS": "0.7", "ORDERS_DRAIN_SECONDS": "0.5"}
        env |= {"ORDERS_CORS_ORIGINS": json.dumps([SITE]), "PYTHONPATH": f"{EXAMPLES}:{ROOT}"}
        # Most of what the processes do is import: keep what was compiled, but not in examples/.
        env |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{ROOT}/.cache/bytecode"}
        _, tables, serve = COMMANDS
        with subprocess.Popen([sys.executable, *tables[1:]], env=os.environ | env) as creating:
            server = enter(uvicorn(SOURCE, *serve[2:], env=env))
            assert creating.wait(timeout=20) == 0
        client = httpx2.Client(base_url=server.url, trust_env=False, headers={"Origin": SITE})
        yield Service(server, stack.enter_context(client), runner.run)
