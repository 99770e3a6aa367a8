"""The command line of scripts/probe.py: what its options do, and what it leaves alone."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.observers.shipped import script
from tests.probes.command import ANSWERS, PLAIN, SCRIPT, probe, sent


def test_variables_of_an_env_file_are_there_at_import(tmp_path: Path) -> None:
    """Those that are set already win, as with uvicorn."""
    (tmp_path / ".env").write_text("# a comment\nexport A='one'\nB=two\n", encoding="utf-8")
    code = "import os\nassert (os.environ['A'], os.environ['B']) == ('one', 'mine')\n" + PLAIN
    done = probe(tmp_path, code, *sent("GET /", "--env-file", ".env"), B="mine")

    assert done.returncode == 0, done


def test_a_factory_below_another_folder_is_called(tmp_path: Path) -> None:
    """Its lines are named from where the user stands."""
    folder = tmp_path / "service" / "src"
    folder.mkdir(parents=True)
    code = "import socket\n" + PLAIN.replace(
        "        await answer", "        socket.getaddrinfo('127.0.0.1', 80)\n        await answer"
    )
    code += "\ndef create_app():\n    return app\n"
    (folder / "shop.py").write_text(code, encoding="utf-8")
    options = sent("GET /", "--factory", "--app-dir", "service/src")[1:]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    inside = probe(tmp_path, "", "shop:create_app", *options)
    beside = probe(elsewhere, "", "shop:create_app", *options[:-1], str(folder))

    assert "service/src/shop.py:11 app" in inside.stdout
    assert "../service/src/shop.py:11 app" in beside.stdout


SETUP = (
    ANSWERS
    + """
    ok = dict(scope["headers"]).get(b"x-key") == b"1" and scope["path"] == "/items/7"
    await answer(send, 200 if ok else 401)

async def seed(app, state):
    return {"item": 7, "headers": {"X-Key": "1"}}
"""
)


def test_the_setup_fills_in_what_a_request_names(tmp_path: Path) -> None:
    """Values by name, and headers for each request."""
    done = probe(tmp_path, SETUP, *sent("GET /items/{{item}}", "--setup", "main:seed"))

    assert done.returncode == 0, done


def test_a_name_without_a_value_is_misuse(tmp_path: Path) -> None:
    """The names that have one are listed."""
    done = probe(tmp_path, SETUP, *sent("GET /items/{{order}}", "--setup", "main:seed"))

    assert (done.returncode, "{{order}}" in done.stderr) == (2, True)
    assert "item, n, uuid" in done.stderr


@pytest.mark.parametrize(
    "failing", ["raise LookupError('no such user')", "raise SystemExit('no such user')"]
)
def test_a_setup_that_fails_is_misuse(tmp_path: Path, failing: str) -> None:
    """Its last words are printed, and the exit status does not say that something was found."""
    code = f"{PLAIN}\nasync def seed(app, state):\n    {failing}\n"
    done = probe(tmp_path, code, *sent("GET /", "--setup", "main:seed"))

    assert (done.returncode, "no such user" in done.stderr) == (2, True)


ROUTES = """
from fastapi import FastAPI
app = FastAPI()

@app.get("/items")
async def items() -> list[str]:
    return []

@app.get("/items/{number}")
async def item(number: int) -> int:
    return number

@app.get("/search")
async def search(text: str) -> str:
    return text

@app.post("/items")
async def add() -> None: ...
"""


def test_without_a_request_the_routes_that_can_be_read_are_sent(tmp_path: Path) -> None:
    """Only GET, and only without a parameter that must be given."""
    done = probe(tmp_path, ROUTES, "main:app", "--probe", "loop", "--json")

    assert [each["request"] for each in json.loads(done.stdout)["probes"]] == ["GET /items"]


def test_an_application_is_asked_for_its_routes_when_it_has_started(tmp_path: Path) -> None:
    """What its startup adds to them would come too late once a schema was made."""
    code = ROUTES.replace(
        "app = FastAPI()",
        """from contextlib import asynccontextmanager

@asynccontextmanager
async def lifespan(app):
    assert app.openapi_schema is None
    yield

app = FastAPI(lifespan=lifespan)""",
    )
    done = probe(tmp_path, code, "main:app", "--probe", "loop")

    assert done.returncode == 0, done.stderr


def test_without_a_request_and_a_route_one_is_asked_for(tmp_path: Path) -> None:
    """An ASGI function tells no routes."""
    done = probe(tmp_path, PLAIN, "main:app")

    assert (done.returncode, "--request" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    "options",
    [
        ("main:app", "--request", "FETCH /"),
        ("main:app", "--request", "GET stock"),
        ("main:app", "--header", "Authorization Bearer"),
        ("main:app", "--app-dir", "nowhere"),
        ("main:app", "--env-file", "nowhere"),
        ("main:app", "--probe", "everything"),
        (),
    ],
)
def test_nonsense_is_misuse(capsys: Any, options: tuple[str, ...]) -> None:
    """Said in a line or two, without a traceback."""
    with contextlib.suppress(SystemExit):
        assert script.main(options or ("--request", "GET /")) == 2

    said = capsys.readouterr()
    assert (said.out, "Traceback" in said.err, ": " in said.err) == ("", False, True)


def test_a_refused_connection_is_reported(tmp_path: Path) -> None:
    """Requests are repeated: what they send elsewhere is not sent."""
    code = (
        ANSWERS
        + """
    try:
        await asyncio.open_connection("198.51.100.7", 443)
    except OSError as error:
        await answer(send, 200, str(error).encode())
"""
    )
    done = probe(tmp_path, code, *sent("GET /"))

    assert (
        "connections to 198.51.100.7 were refused; --host 198.51.100.7 allows them" in done.stdout
    )


def test_the_users_own_modules_keep_their_names(tmp_path: Path) -> None:
    """An application has `probes`, `reports` and `core` of its own."""
    for name in ("probes", "reports", "core", "checks"):
        (tmp_path / f"{name}.py").write_text("mine = True\n", encoding="utf-8")
    code = "import checks, core, probes, reports\n"
    code += "assert probes.mine and reports.mine and core.mine and checks.mine\n"
    done = probe(tmp_path, code + PLAIN, *sent("GET /"))

    assert done.returncode == 0, done.stderr


def test_nothing_is_written_into_the_users_folder(tmp_path: Path) -> None:
    """No report, no cache, no log."""
    probe(tmp_path, PLAIN, PYTHONDONTWRITEBYTECODE="")

    assert [each.name for each in tmp_path.iterdir()] == ["main.py"]


def test_a_loop_policy_of_the_users_does_not_hide_connections(tmp_path: Path) -> None:
    """uvloop connects unseen: asyncio's own loop runs, whatever is installed as the policy."""
    code = """
import asyncio
class Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        raise RuntimeError("another loop")
asyncio.set_event_loop_policy(Policy())
"""
    done = probe(tmp_path, code + PLAIN, *sent("GET /"))

    assert done.returncode == 0, done


@pytest.mark.parametrize("option", ["--limit=0", "--limit=soon", "--points=0", "--patience=inf"])
def test_a_limit_that_is_none_is_misuse(option, capsys) -> None:
    """It would end each request at once, or never."""
    with pytest.raises(SystemExit) as ended:
        script._parser().parse_args(["main:app", option])

    assert ended.value.code == 2
    assert "above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("endpoint", "no ASGI application"),
        ("app", "it waits at main.py:4 app"),
    ],
)
def test_what_is_no_application_and_what_never_ends_is_said(tmp_path: Path, name, said) -> None:
    """Not by a traceback of our own."""
    code = """import asyncio
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await asyncio.Event().wait()
async def endpoint():
    ...
"""
    done = probe(tmp_path, code, f"main:{name}", *sent("GET /", "--limit", "0.3")[1:])

    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert said in done.stdout + done.stderr


def test_a_module_that_is_elsewhere_is_said_with_the_option(tmp_path: Path) -> None:
    """As in a layout with src/."""
    done = probe(tmp_path, PLAIN, "shop.main:app", "--request", "GET /")

    assert "--app-dir says where it is" in done.stderr


@pytest.mark.slow
def test_a_report_that_cannot_be_written_is_not_found(tmp_path: Path) -> None:
    """A full disk is no failure of the application's."""
    (tmp_path / "main.py").write_text(PLAIN, encoding="utf-8")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, SCRIPT, *sent("GET /")],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.DEVNULL,
            timeout=30,
        )

    assert done.returncode == 2


def test_an_application_is_loaded_inside_the_loop_as_uvicorn_does(tmp_path: Path) -> None:
    """What it makes at import belongs to the loop that runs its requests."""
    code = (
        "import asyncio\ndone = asyncio.get_running_loop().create_future()\n"
        + ANSWERS
        + """
    if not done.done():
        asyncio.get_running_loop().call_soon(done.set_result, b"1")
    await answer(send, 200, await done)
"""
    )
    done = probe(tmp_path, code, *sent("GET /"))

    assert done.returncode == 0, done
