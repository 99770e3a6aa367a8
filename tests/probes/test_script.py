"""The command line of scripts/probe.py: what it says, with which status, and how it ends."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.observers.shipped import shipped
from tests.probes.command import ANSWERS, PLAIN, SCRIPT, probe, sent


def test_an_application_that_does_not_load_says_why(tmp_path: Path) -> None:
    """By its own traceback, on stderr, and nothing else."""
    done = probe(tmp_path, "import no_such_module\n")

    assert (done.returncode, done.stdout) == (2, "")
    assert "No module named 'no_such_module'" in done.stderr


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f():\n    import no_such_module\nf()\n", "No module named 'no_such_module'"),
        ("app = \n", "SyntaxError"),
        ("raise SystemExit('set SHOP_KEY')\n", "set SHOP_KEY"),
        ("application = 1\n", "has no attribute 'app'"),
    ],
)
def test_the_traceback_is_short_and_the_users(tmp_path, monkeypatch, code, said) -> None:
    """It holds no line of ours and none of the import machinery."""
    name = f"shop_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    application = shipped("core.application")
    with pytest.raises(application.ApplicationError, match=said) as error:
        application.load(f"{name}:app", factory=False, folder=tmp_path)

    lines = str(error.value).splitlines()
    ours = [line for line in lines if "scripts/probes" in line or "importlib" in line]
    assert (ours, len(lines) < 12) == ([], True)


def test_what_the_import_system_tried_before_is_left_out(tmp_path: Path) -> None:
    """A service that asks for its own version and was not installed hears of that first."""
    code = "from importlib.metadata import version\nversion('no-such-shop')\n"
    done = probe(tmp_path, code)

    assert "PackageNotFoundError" in done.stderr
    assert "StopIteration" not in done.stderr


def test_a_lifespan_that_fails_says_why(tmp_path: Path) -> None:
    """The error of the startup, and exit status 2."""
    code = PLAIN + '    else:\n        raise RuntimeError("no SHOP_KEY")\n'
    code = code.replace(
        'if scope["type"] == "http":',
        'if scope["type"] == "lifespan":\n        await receive()\n'
        '        await send({"type": "lifespan.startup.failed", "message": "no SHOP_KEY"})\n'
        '    elif scope["type"] == "http":',
    )
    done = probe(tmp_path, code)

    assert (done.returncode, "no SHOP_KEY" in done.stderr) == (2, True), done.stderr


def test_a_refused_request_says_what_to_give(tmp_path: Path) -> None:
    """Nothing can be told, so the status is 2."""
    code = ANSWERS + "    await answer(send, 401, b'who are you')\n"
    done = probe(tmp_path, code)

    assert (done.returncode, "--header" in done.stdout) == (2, True), done.stdout
    assert "who are you" in done.stdout


def test_the_verdicts_come_as_json(tmp_path: Path) -> None:
    """An object for each, whatever the application prints."""
    done = probe(tmp_path, PLAIN + "print('starting')\n", *sent("GET /", "--json"))

    keys = {"name", "verdict", "trap", "says", "evidence", "request"}
    (verdict,) = json.loads(done.stdout)["probes"]
    assert (done.returncode, set(verdict)) == (0, keys)
    assert (verdict["name"], verdict["verdict"], verdict["request"]) == ("loop", "ok", "GET /")


def test_what_was_found_makes_the_status_1(tmp_path: Path) -> None:
    """With the evidence and the name of the trap."""
    code = "import socket\n" + PLAIN.replace(
        "        await answer", "        socket.getaddrinfo('127.0.0.1', 80)\n        await answer"
    )
    done = probe(tmp_path, code, *sent("GET /"))

    assert done.returncode == 1
    assert "-> asyncio/structured-concurrency#blocking-calls-on-the-loop" in done.stdout
    assert "main.py:11 app" in done.stdout


@pytest.mark.parametrize("options", [("--host", "db.example"), ()])
def test_a_database_elsewhere_needs_a_word(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Its data would be spoilt: refused, unless the host or all are allowed."""
    code = (
        ANSWERS
        + """
    from sqlalchemy.ext.asyncio import create_async_engine
    engine = create_async_engine("postgresql+asyncpg://shop@db.example/shop")
    try:
        async with engine.connect():
            pass
    except Exception as error:
        await answer(send, 500, str(error).encode())
"""
    )
    done = probe(tmp_path, code, *sent("GET /", *options))

    assert (done.returncode, "--allow-remote" in done.stderr) == (2, not options), done


def test_an_endpoint_that_blocks_for_ever_is_named(tmp_path: Path) -> None:
    """Nothing can interrupt it but the end of the process."""
    code = "import time\n" + PLAIN.replace(
        "        await answer", "        time.sleep(600)\n        await answer"
    )
    (tmp_path / "main.py").write_text(code, encoding="utf-8")
    run = (
        "import importlib.util, os, sys\n"
        f"spec = importlib.util.spec_from_file_location('probe', {str(SCRIPT)!r})\n"
        "probe = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(probe)\n"
        "probe._package().STILL = 0.2\n"
        "os._exit(probe.main(['main:app', '--request', 'GET /', '--limit', '0.2']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", run], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )

    assert (done.returncode, "main.py:11 app" in done.stderr) == (2, True), done.stderr


def test_a_request_that_waits_for_ever_is_bounded(tmp_path: Path) -> None:
    """It swallows its cancel too, and the probe ends all the same."""
    code = (
        ANSWERS
        + """
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
"""
    )
    done = probe(tmp_path, code, *sent("GET /", "--limit", "1"))

    assert (done.returncode, "did not end in" in done.stdout) == (2, True), done


def test_an_interrupt_ends_it_and_the_application(tmp_path: Path) -> None:
    """Ctrl-C is no traceback, and the lifespan is shut down."""
    code = """
import asyncio
from pathlib import Path

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            Path(phase).touch()
            await send({"type": f"lifespan.{phase}.complete"})
    else:
        Path("reached").touch()
        await asyncio.sleep(60)
"""
    (tmp_path / "main.py").write_text(code, encoding="utf-8")
    command = [sys.executable, SCRIPT, *sent("GET /")]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "reached").exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)

    assert (process.returncode, said.strip()) == (2, "probe.py: interrupted")
    assert (tmp_path / "shutdown").exists()
