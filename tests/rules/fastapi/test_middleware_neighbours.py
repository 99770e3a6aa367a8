"""How the rule on middleware is known: OpenTelemetry, FastAPI's command and real WebSockets."""

import functools
import json
import os
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ROOT, confirms, pair_of
from tests.test_versions import environment

OTHERS = [
    "opentelemetry-instrumentation-fastapi==0.66b2",
    "opentelemetry-sdk==1.45.2",
    "fastapi-cli==0.0.34",
    "websockets==17.4",
]

HALVES = {"access": "one-access-line-per-request", "cors": "cors-around-everything"}

SCRIPT = r'''
import asyncio
import io
import json
import logging
from pathlib import Path

import uvicorn
from fastapi import FastAPI, WebSocket
from fastapi.responses import PlainTextResponse
from fastapi.middleware.cors import CORSMiddleware
from fastapi_cli.discover import get_import_data
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from access import AccessLog
from cors import create_app
from tests.observers.asgi import request

log, lines, origin = io.StringIO(), io.StringIO(), "https://app.example"
logging.basicConfig(stream=log)
logging.getLogger("access").addHandler(logging.StreamHandler(lines))
logging.getLogger("access").setLevel("INFO")


class Open:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


class Service(FastAPI):
    def build_middleware_stack(self):
        return CORSMiddleware(super().build_middleware_stack(), allow_origins=[origin])


def seen(api, wrap):
    async def crash(item_id: int):
        raise RuntimeError

    api.add_api_route("/items/{item_id}", crash)
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    FastAPIInstrumentor.instrument_app(api, tracer_provider=provider)
    answer = asyncio.run(request(AccessLog(wrap(api)), "/items/7", headers={"origin": origin}))
    spans = [each.name for each in exporter.get_finished_spans()]
    skipped = "unexpected middleware stack" in log.getvalue()
    route = json.loads(lines.getvalue().splitlines()[-1])["route"]
    allowed = answer.header("access-control-allow-origin")
    return [answer.status, allowed == origin, "GET /items/{item_id}" in spans, skipped, route]


wrapped = seen(FastAPI(), lambda api: create_app(api, Open, [origin]))
inside = seen(Service(), lambda api: api)
served = get_import_data(path=Path("both.py")).import_string


class Auth(Open):
    async def __call__(self, scope, receive, send):
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        await PlainTextResponse("Log in.", 401)(scope, receive, send)


async def answers(app, implementation):
    """What a client reads first that asks for a WebSocket."""
    config = uvicorn.Config(app, port=0, ws=implementation, log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    body = await asyncio.wait_for(reader.read(), 10) if b" 401 " in head else b""
    writer.close()
    server.should_exit = True
    await serving
    return [int(head.split()[1]), body.decode()]


api = FastAPI()


@api.websocket("/")
async def socket(websocket: WebSocket):
    await websocket.accept()
    await websocket.close()


sockets = [
    [asyncio.run(answers(app, each)) for app in (api, Auth(api))]
    for each in ("auto", "websockets-sansio")
]
print(json.dumps({"wrapped": wrapped, "inside": inside, "served": served, "sockets": sockets}))
'''

BOTH = """
from fastapi import FastAPI
from cors import create_app

api = FastAPI()
app = create_app(api, lambda app: app, [])
"""


@functools.cache
def found() -> dict[str, Any]:
    """What the script printed, in an environment of exactly these versions."""
    pins = [f"{name}=={version(name)}" for name in ("fastapi", "starlette", "uvicorn")]
    python = environment("middleware", "3.11", [*OTHERS, *pins])
    with tempfile.TemporaryDirectory() as folder:
        for name, pair in HALVES.items():
            code = pair_of("fastapi/middleware", pair).correct.block.code
            (Path(folder) / f"{name}.py").write_text(code, encoding="utf-8")
        (Path(folder) / "both.py").write_text(BOTH, encoding="utf-8")
        done = subprocess.run(
            [python, "-c", SCRIPT],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": f"{folder}:{ROOT}"},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_instrumented_app_has_spans_when_cors_is_around_it_and_none_when_inside() -> None:
    """The 500 of a crash may be read by the browser in both cases."""
    route = "/items/{item_id}"

    assert found()["wrapped"] == [500, True, True, False, route]
    assert found()["inside"] == [500, True, False, True, route]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fastapi_run_serves_the_app_inside() -> None:
    """It looks for an instance of FastAPI, which the wrapped app is not."""
    assert found()["served"] == "both:api"


@pytest.mark.slow
@pytest.mark.timeout(900)
@confirms("fastapi/middleware", "auth-behind-an-http-guard")
def uvicorn_sends_the_response_that_refuses_a_websocket() -> None:
    """Its status and its body, whichever implementation serves the WebSocket."""
    assert found()["sockets"] == 2 * [[[101, ""], [401, "Log in."]]]
