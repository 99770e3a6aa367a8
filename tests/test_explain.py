"""scripts/explain.py: finds what is in a text, innermost cause first, and reads anything."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rulebook.errors import read_errors
from tests.harness import ROOT
from tests.harness.errors import explain_script

SCRIPT = ROOT / "scripts" / "explain.py"
CANCELLED = "async generator ignored GeneratorExit"
SCOPE = "Attempted to exit cancel scope in a different task"
TRACEBACK = f"""Traceback (most recent call last):
  File "/srv/app/db.py", line 41, in load
    raise ValueError("{SCOPE}")
  File "/usr/lib/python3.11/site-packages/lib/core.py", line 7, in inner
    run()
RuntimeError: {CANCELLED}
"""


def run(*arguments: str, given: bytes | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-S", str(SCRIPT), *arguments]
    done = subprocess.run(command, input=given or b"", capture_output=True, timeout=20)
    text = done.stdout.decode(), done.stderr.decode()
    return subprocess.CompletedProcess(command, done.returncode, *text)


def found(text: str | bytes) -> dict[str, Any]:
    """What `--json` says of a text on standard input."""
    given = text if isinstance(text, bytes) else text.encode()
    answer: dict[str, Any] = json.loads(run("--json", given=given).stdout)
    return answer


def errors(text: str | bytes) -> list[str]:
    return [match["error"] for match in found(text)["matches"]]


def ordered(text: str, *fragments: str) -> list[str]:
    """What a reader that knows only these texts finds, in its order."""
    script = explain_script()
    reader = script.Reader([script.Entry(fragment, {}) for fragment in fragments])
    return [match.entry.fragment for match in script.explain(io.BytesIO(text.encode()), reader)]


def test_an_entry_is_printed_with_cause_cure_and_rule() -> None:
    """A text as an argument: what its entry says, and exit status 0."""
    (entry,) = [each for each in read_errors(ROOT)[0] if each.fragment == CANCELLED]
    done = run(f"RuntimeError: {CANCELLED}")

    assert (done.returncode, done.stderr) == (0, "")
    for said in (CANCELLED, entry.fields["Cause"], entry.fields["Do"], "rules/asyncio/"):
        assert said in done.stdout


def test_json_has_the_fields_a_program_reads() -> None:
    """The last line of a traceback, where it stands, and the user's own frames."""
    (match,) = found(TRACEBACK)["matches"]

    assert set(match) == {"error", "cause", "do", "rule", "count", "lines", "frames"}
    assert (match["error"], match["count"], match["lines"]) == (CANCELLED, 1, [6])
    assert match["frames"] == ["/srv/app/db.py:41 in load"]


def test_source_in_a_traceback_is_not_what_was_raised() -> None:
    """A text that only a line of code quotes is not explained, unless the rest is cut off."""
    cut = TRACEBACK[: TRACEBACK.index('  File "/usr')]

    assert (errors(TRACEBACK), errors(cut)) == ([CANCELLED], [SCOPE])


GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "/srv/app/main.py", line 3, in ask
  |     async with asyncio.TaskGroup() as group:
  | ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/srv/app/db.py", line 9, in load
    |     await session.flush()
    | pkg.StateError: the member said so
    +---------------- 2 ----------------
    | Traceback (most recent call last):
    |   File "/srv/app/db.py", line 9, in load
    |     await session.flush()
    | pkg.StateError: the other member
    +------------------------------------
"""
CHAIN = """Traceback (most recent call last):
  File "/srv/app/db.py", line 9, in load
    x()
asyncpg.exceptions.UniqueViolationError: the driver said so
DETAIL:  Key (id)=(1) already exists.

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/app/db.py", line 10, in load
    y()
sqlalchemy.exc.IntegrityError: what wraps it
[SQL: INSERT INTO items]

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/app/db.py", line 12, in load
    z()
app.ServiceError: what the service said
"""


@pytest.mark.parametrize(
    ("text", "order"),
    [
        (GROUP, ["the member said so", "the other member", "unhandled errors in a TaskGroup"]),
        (CHAIN, ["the driver said so", "what wraps it", "what the service said"]),
        (f"noise about what wraps it\n{CHAIN}", ["the driver said so", "what wraps it"]),
        ("ERROR: a long text and more\n", ["a long text and more", "a long text"]),
    ],
    ids=["group", "chain", "noise before", "specific first"],
)
@pytest.mark.parametrize("prefix", ["", "api-1  | ", "2026-11-27T05:31:24.123Z "])
def test_the_innermost_cause_comes_first(text: str, order: list[str], prefix: str) -> None:
    """Members before their group, the first raised before what wrapped it, the long text first."""
    lines = "".join(f"{prefix}{line}\n" for line in text.splitlines())

    assert ordered(lines, *reversed(order)) == order


def test_what_pytest_prints_is_read() -> None:
    """The E line, the frames above it, and the summary are one error, seen twice."""
    text = f"""
tests/test_db.py:12: in test_load
    await load()
app/db.py:33: in load
    raise x
E   RuntimeError: {CANCELLED}
=========================== short test summary info ====
FAILED tests/test_db.py::test_load - RuntimeError: {CANCELLED}
"""
    (match,) = found(text)["matches"]

    assert (match["count"], match["lines"]) == (2, [6, 8])
    assert "app/db.py:33 in load" in match["frames"]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"level": "error", "exc_info": TRACEBACK, "n": [{"x": 1}]}) + "\n",
        f"\x1b[31mRuntimeError\x1b[0m: \x1b[1;35m{CANCELLED}\x1b[0m\n",
        "RuntimeError: async generator\n   ignored GeneratorExit",
        f"RuntimeError: {CANCELLED}".encode() + b" \xff\xfe\x00",
        f"x\r\nRuntimeError: {CANCELLED}\r\n",
    ],
    ids=["JSON lines", "colours", "wrapped by hand", "bytes", "CRLF"],
)
def test_any_form_of_a_log_is_read(text: str | bytes) -> None:
    """Structured, coloured, wrapped, half binary."""
    assert errors(text) == [CANCELLED]


def test_a_typeset_quote_is_a_quote() -> None:
    """What a web page made of an apostrophe is found all the same."""
    assert ordered("can\u2019t do that", "can't do that") == ["can't do that"]


def test_what_nothing_explains_is_named() -> None:
    """Exit status 1, the last line of the traceback, the words worth searching."""
    text = 'Traceback (most recent call last):\n  File "a.py", line 1, in x\nodd.Error: 17 frobs\n'
    done = run(given=text.encode())

    assert (done.returncode, done.stdout) == (1, "")
    assert "odd.Error: 17 frobs" in done.stderr
    assert "worth searching for: Error frobs" in done.stderr


def test_a_missing_file_is_misuse() -> None:
    """What looks like a path and is none is not taken for a text."""
    done = run("no/such.log")

    assert (done.returncode, done.stdout, "cannot be read" in done.stderr) == (2, "", True)


def test_a_file_is_read_and_every_text_listed(tmp_path: Path) -> None:
    """A path as the argument; `--list` names what is known."""
    (tmp_path / "log").write_text(TRACEBACK)

    assert CANCELLED in run(str(tmp_path / "log")).stdout
    assert run("--list").stdout.splitlines() == sorted(e.fragment for e in read_errors(ROOT)[0])


def test_a_long_log_is_read_as_a_stream(tmp_path: Path) -> None:
    """Forty times the size of what is read at once: memory stays that of one part."""
    path = tmp_path / "log"
    with path.open("w") as log:
        for number in range(150_000):
            log.write(f"2026-11-27 05:31:24 INFO request {number} took 12 ms, 200, GET /orders\n")
        log.write(TRACEBACK)
    source = (
        "import sys; sys.argv = ['explain.py', '--json', sys.argv[1]];"
        f"sys.path.insert(0, {str(SCRIPT.parent)!r}); import explain; explain.main(sys.argv[1:]);"
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", source, path], capture_output=True, text=True, check=True
    )
    answer, kilobytes = done.stdout.splitlines()

    assert json.loads(answer)["matches"][0]["lines"] == [150_006]
    assert int(kilobytes) < 60_000


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            'sqlalchemy.exc.ProgrammingError: (a.b) relation "invoices" does not exist',
            "UndefinedTable",
        ),
        ('relation "invoices" already exists', "DuplicateTable"),
        ("AttributeError: 'Invoice' object has no attribute 'total'", None),
    ],
)
def test_a_text_known_by_its_class_is_found_by_its_message(text: str, error: str | None) -> None:
    """SQLAlchemy 2.1 prints another class: the message is the same but for its names."""
    assert errors(text) == ([error] if error else [])
