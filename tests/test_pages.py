"""The site's hand-written pages: the terminals they show, the commands and the steps they name."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT
from tests.harness.console import PAGES, Console, consoles, plain, printed, sample_in
from tests.servers.orders import COMMANDS

SHOWN = [each for path in PAGES for each in consoles(path)]
WATCHED = """
import asyncio, json, logging, sys
import fastapi.routing
from orders import database, lifespan, main, middleware
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

steps = []
serialize = fastapi.routing.serialize_response
fastapi.routing.serialize_response = lambda **each: steps.append("made") or serialize(**each)

def step(name):
    return lambda *_: steps.append(name)

for target, name in ((Pool, "checkout"), (Engine, "begin"), (Engine, "commit"), (Pool, "checkin")):
    event.listen(target, name, step(name))

@event.listens_for(Engine, "before_cursor_execute")
def table(_, __, sql, *___):
    steps.append(sql.partition(" INTO ")[2].partition(" ")[0])

async def receive():
    return {"type": "http.request", "body": sys.argv[1].encode()}

async def send(message):
    steps.append(message["type"])

async def place():
    await database.create_tables()
    app = main.create_app()
    middleware.access.handlers = [logging.NullHandler()]
    middleware.access.addFilter(lambda _: steps.append("access line"))
    async with lifespan.lifespan(main.api) as state:
        steps.clear()
        kind = {"type": "http", "method": "POST", "path": "/orders", "query_string": b""}
        kind["headers"] = [(b"content-type", b"application/json")]
        await app({**kind, "state": dict(state)}, receive, send)
        print(json.dumps(steps))

asyncio.run(place())
"""
ANSWERED = ["http.response.start", "http.response.body", "access line"]
STORED = ["checkout", "begin", "orders", "made", "lines", "commit", "checkin"]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as a project of its own, with the skill in it."""
    return sample_in(tmp_path_factory.mktemp("project"))


@pytest.mark.parametrize(
    "console",
    [
        pytest.param(
            each,
            id=f"{each.path.name}:{each.line}",
            marks=[pytest.mark.slow, pytest.mark.timeout(120)] if "probe.py" in each.text else [],
        )
        for each in SHOWN
    ],
)
def test_a_terminal_shows_what_is_printed(console: Console, sample: Path) -> None:
    """Run in the sample, the commands of the block print the rest of it."""
    now = printed(console, sample)

    assert plain(now) == plain(console.text)


def test_what_a_page_makes_up_is_noticed(tmp_path: Path) -> None:
    """Only commands are taken from a block; both streams and the status come from the run."""
    text = "$ echo one \\\n    two; ls nowhere 2>/dev/null\nthree\n$ echo $? >&2\n"
    now = printed(Console(tmp_path / "page.md", 1, text), tmp_path)

    assert now == text.replace("three", "one two").replace(">&2\n", ">&2\n2\n")


def test_the_tools_are_shown() -> None:
    """Each script that a user runs has a terminal on some page."""
    tools = {"review.py", "probe.py", "explain.py", "versions.py", "pool_budget.py"}

    assert {name for name in tools if not any(name in each.commands for each in SHOWN)} == set()


def test_the_example_is_started_as_it_says_itself() -> None:
    """The page has the commands of the package's docstring, which other tests run."""
    page = (ROOT / "site" / "pages" / "example.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"(?s)```bash\n(.*?)```", page)
    lines = block.replace("\\\n", "").splitlines()

    assert [shlex.split(line) for line in lines if not line.startswith("export ")] == COMMANDS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"reference": "a", "lines": [{"sku": "nut", "quantity": 1}]}', STORED + ANSWERED),
        ("{}", ANSWERED),
    ],
    ids=["right", "wrong"],
)
def test_an_order_takes_the_steps_of_the_page(
    body: str, expected: list[str], tmp_path: Path
) -> None:
    """The answer begins after the COMMIT, and a wrong body takes no connection."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, body],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "examples"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(done.stdout) == expected
