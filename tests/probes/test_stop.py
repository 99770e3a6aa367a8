"""The stop probe on real servers, each with a failure planted, and mended."""

import json
import subprocess
import sys

import pytest

from tests.harness import ROOT, correct, incorrect
from tests.observers.shipped import shipped
from tests.probes.stopping import BARE, POST, looked, said, stopped, traps, uvicorn
from tests.servers.orders import EXAMPLES
from tests.servers.uvicorn import source_of

DRAIN = "drain-before-the-port-closes"
LOST = """
import signal

async def started():
    signal.signal(signal.SIGTERM, lambda *_: None)
"""
FORWARDED = """
import signal

async def started():
    usual = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *heard: usual(*heard))
"""
HANGS = """
async def stopped():
    await asyncio.Event().wait()
"""
BOUNDED = """
async def stopped():
    await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.1)
"""
SENDS = """
async def socket(receive, send):
    await send({"type": "websocket.accept"})
    await asyncio.Event().wait()  # for news
"""
READS = """
async def socket(receive, send):
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        pass
"""
DIES = """
import os, signal

async def started():
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
"""
READY = """
from fastapi import Response

DELAY = 0.5
app = FastAPI(lifespan=lifespan)


@app.get("/readyz")
async def readyz() -> Response:
    return Response(status_code=200 if app.state.ready else 503)
"""
GUARDED = """
bare = app

def log_in(app, state):
    return {"token": "abc", "headers": {"Authorization": "Bearer abc"}}

async def app(scope, receive, send):
    if scope["type"] == "http" and (b"authorization", b"Bearer abc") not in scope["headers"]:
        scope = scope | {"path": "/private"}
    await bare(scope, receive, send)
"""
STREAM = "--stream=/events"
SOCKET = "--socket=/news"
SOON = "--patience=2"  # where nothing but a wait without end is waited for
PLANTED = {
    "signal-handler-in-a-lifespan": (BARE + LOST, BARE + FORWARDED, ()),
    "a-shutdown-longer-than-its-grace-period": (BARE + HANGS, BARE + BOUNDED, ()),
    "websockets-that-only-send": (BARE + SENDS, BARE + READS, (SOCKET,)),
    DRAIN: (BARE + DIES, BARE, (POST,)),
}


def test_a_server_that_never_hears_sigterm_is_found(tmp_path) -> None:
    """The lifespan's handler replaced the server's: nothing else is asked of it then."""
    verdicts = stopped(tmp_path, BARE + LOST, POST, "--patience=0.5")

    assert [each.trap for each in verdicts] == ["asyncio/cancellation#signal-handler-in-a-lifespan"]


def test_a_long_wait_is_told_of(tmp_path, monkeypatch) -> None:
    """Again and again, or it would pass for one that hangs."""
    monkeypatch.setattr(shipped("stop"), "REPORT", 0.1)
    told: list[str] = []

    stopped(tmp_path, BARE + LOST, "--patience=0.5", progress=told.append)

    assert sum("after SIGTERM the server is still there" in each for each in told) > 1


def test_a_server_that_stops_is_ok(tmp_path) -> None:
    """Its handler is called by the lifespan's own; what was not given cannot be told."""
    verdicts = stopped(tmp_path, BARE + FORWARDED)

    assert "SIGTERM with an idle connection: ended after" in said(verdicts, "ok")
    assert [each.verdict for each in verdicts] == ["ok", *["cannot-tell"] * 4]


@pytest.mark.slow
@pytest.mark.parametrize("trap", PLANTED)
def test_a_planted_failure_is_found(trap, tmp_path) -> None:
    """By the name of its trap, and no other is."""
    source, _, arguments = PLANTED[trap]

    assert traps(stopped(tmp_path, source, *arguments, SOON)) == {trap}


@pytest.mark.slow
@pytest.mark.parametrize("trap", PLANTED)
def test_a_planted_failure_that_is_mended_is_ok(trap, tmp_path) -> None:
    """Nothing is found, and each state that was asked for is told."""
    _, source, arguments = PLANTED[trap]

    verdicts = stopped(tmp_path, source, *arguments)

    assert not traps(verdicts)
    assert said(verdicts, "ok").count("SIGTERM with") == 1 + len(arguments)


@pytest.mark.slow
def test_a_stream_without_a_graceful_timeout_is_found(tmp_path) -> None:
    """uvicorn waits for it as long as its client reads; the command that did so is shown."""
    verdicts = stopped(tmp_path, BARE, STREAM, SOON)

    assert traps(verdicts) == {"streams-outlive-the-shutdown"}
    (evidence,) = (each.evidence for each in verdicts if each.verdict == "found")
    assert "-m uvicorn service:app" in evidence[-1]


@pytest.mark.slow
def test_a_stream_with_a_graceful_timeout_is_ok(tmp_path) -> None:
    """The command is the user's own."""
    verdicts = stopped(
        tmp_path, BARE, STREAM, f"--serve={uvicorn(tmp_path)} --timeout-graceful-shutdown 1"
    )

    assert not traps(verdicts)
    assert "SIGTERM with an open stream: ended after" in said(verdicts, "ok")


@pytest.mark.slow
def test_a_shell_before_the_server_is_found(tmp_path) -> None:
    """It ends at SIGTERM, and uvicorn, which was not told, serves on."""
    verdicts = stopped(tmp_path, BARE, f"--serve=sh -c '{uvicorn(tmp_path)}; true'", SOON)

    assert traps(verdicts) == {"a-shell-before-uvicorn"}


@pytest.mark.slow
def test_a_shell_that_becomes_the_server_is_ok(tmp_path) -> None:
    """With `exec` the first process is uvicorn."""
    verdicts = stopped(tmp_path, BARE, f"--serve=sh -c 'true; exec {uvicorn(tmp_path)}'")

    assert verdicts[0].verdict == "ok"


@pytest.mark.slow
def test_readiness_that_falls_with_the_port_is_found(tmp_path) -> None:
    """The incorrect half: nobody is told before connections are refused."""
    source = source_of(incorrect("fastapi/lifespan", DRAIN)) + READY

    verdicts = stopped(tmp_path, source, "--ready=/readyz")

    assert traps(verdicts) == {DRAIN}
    assert said(verdicts, "found").endswith("nothing")


@pytest.mark.slow
def test_readiness_that_falls_before_the_port_closes_is_ok(tmp_path) -> None:
    """The correct half; where readiness is, the application's own description tells."""
    source = source_of(correct("fastapi/lifespan", DRAIN)) + READY

    verdicts = stopped(tmp_path, source)

    assert not traps(verdicts)
    assert "503, then nothing" in said(verdicts, "ok")


@pytest.mark.slow
def test_what_the_setup_returned_reaches_the_server(tmp_path) -> None:
    """A token by name and by header, where a probe that calls --setup is asked for beside stop."""
    (tmp_path / "service.py").write_text(BARE + GUARDED, encoding="utf-8")
    words = [sys.executable, ROOT / "scripts" / "probe.py", "service:app", "--json"]
    words += ["--probe=loop", "--probe=stop", "--setup=service:log_in"]

    done = subprocess.run(
        [*words, '--request=POST /orders {"token": "{{token}}"}'],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=50,
    )

    told = [each["says"] for each in json.loads(done.stdout)["probes"] if each["verdict"] == "ok"]
    assert "SIGTERM with a request in flight: it was answered 200" in "\n".join(told)


@pytest.mark.slow
def test_the_example_is_ok(tmp_path, monkeypatch) -> None:
    """Idle and in flight, and it tells its balancer first."""
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES))
    monkeypatch.setenv("ORDERS_DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path}/orders.db")
    monkeypatch.setenv("ORDERS_DRAIN_SECONDS", "0.5")
    make = [sys.executable, "-m", "orders.database"]
    subprocess.run(make, check=True, cwd=tmp_path)
    body = '{"reference": "{{uuid}}", "lines": [{"sku": "a", "quantity": 1}]}'

    verdicts = looked(
        "orders.main:create_app",
        "--factory",
        f"--app-dir={EXAMPLES}",
        f"--request=POST /orders {body}",
    )

    assert not traps(verdicts)
    assert said(verdicts, "ok").count("\n") == 2
