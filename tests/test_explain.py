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

WRAPPERS: set[str] = sys.modules[explain_script().Reader.__module__].WRAPPERS
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


def ordered(text: str | bytes, *fragments: str) -> list[str]:
    """What a reader that knows only these texts finds, in its order."""
    data = text if isinstance(text, bytes) else text.encode()
    script = explain_script()
    reader = script.Reader([script.Entry(fragment, {}) for fragment in fragments])
    return [match.entry.fragment for match in script.explain(io.BytesIO(data), reader)]


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
        (
            "ERROR: a long text and more\nERROR: a long text\n",
            ["a long text and more", "a long text"],
        ),
    ],
    ids=["group", "chain", "noise before", "earlier first"],
)
@pytest.mark.parametrize("prefix", ["", "api-1  | ", "2026-11-27T05:31:24.123Z "])
def test_the_innermost_cause_comes_first(text: str, order: list[str], prefix: str) -> None:
    """Members before their group, the first raised before what wrapped it, earlier lines first."""
    lines = "".join(f"{prefix}{line}\n" for line in text.splitlines())

    assert ordered(lines, *reversed(order)) == order


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a long text and more", ["a long text and more"]),
        ("lib.LongText: a long text", ["a long text"]),
        ("a long text, then a long text and more", ["a long text", "a long text and more"]),
    ],
    ids=["part of it", "its class", "both"],
)
def test_the_more_specific_text_hides_the_other(text: str, found: list[str]) -> None:
    """A text that stands only inside a longer one, or only as the class before it, is not meant."""
    known = ("a long text", "a long text and more", "LongText")

    assert sorted(ordered(text, *known)) == found


WRAPPED = [
    "Task exception was never retrieved\nfuture: <Task exception=OSError('the driver said so')>",
    "ExceptionGroup: unhandled errors in a TaskGroup\n\nOSError: the driver said so\n",
    "OSError: the driver said so\nERROR:    Application startup failed. Exiting.\n",
]


@pytest.mark.parametrize("text", WRAPPED, ids=["future", "title", "after it"])
def test_what_only_reports_an_error_comes_after_it(text: str) -> None:
    """Outside a traceback too, wherever the two stand."""
    wrapper, *_ = [each for each in WRAPPERS if each in text]

    assert ordered(text, wrapper, "the driver said so") == ["the driver said so", wrapper]


def test_every_wrapper_is_an_entry() -> None:
    """A text that is renamed in the index is renamed among the wrappers."""
    assert {each.fragment for each in read_errors(ROOT)[0]} >= WRAPPERS


def test_the_words_of_other_versions_are_known() -> None:
    """What an entry's Versions say in backticks after `says` leads to it."""
    fields = {"Versions": "Before 3 it says `the older words \u2026 of it`."}
    script = explain_script()
    reader = script.Reader([script.Entry("the newer words", fields)])
    (match,) = script.explain(io.BytesIO(b"lib.Error: the older words of it"), reader)

    assert match.entry.fragment == "the newer words"


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


def test_what_nothing_explains_is_named() -> None:
    """Exit status 1, the last line of the traceback, the words worth searching."""
    text = 'Traceback (most recent call last):\n  File "a.py", line 1, in x\nodd.Error: 17 frobs\n'
    done = run(given=text.encode())

    assert (done.returncode, done.stdout) == (1, "")
    assert "odd.Error: 17 frobs" in done.stderr
    assert "worth searching for: Error frobs" in done.stderr


@pytest.mark.parametrize(
    "text", [b"", b"\n", bytes(range(256)) * 99], ids=["none", "blank", "binary"]
)
def test_where_nothing_is_said_nothing_is_suggested(text: bytes) -> None:
    """Exit status 1, and one line that a terminal can show."""
    done = run(given=text)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "no known error text is in it\n"


def test_a_closed_standard_input_is_misuse() -> None:
    """As of a daemon: a message, and no traceback."""
    command = f"{sys.executable} -S {SCRIPT} <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=20)

    assert (done.returncode, "give a text" in done.stderr) == (2, True)


def test_a_missing_file_is_misuse() -> None:
    """What looks like a path and is none is not taken for a text."""
    done = run("no/such.log")

    assert (done.returncode, done.stdout, "cannot be read" in done.stderr) == (2, "", True)


def test_a_file_is_read_and_every_text_listed(tmp_path: Path) -> None:
    """A path as the argument; `--list` names what is known."""
    (tmp_path / "log").write_text(TRACEBACK)

    assert CANCELLED in run(str(tmp_path / "log")).stdout
    assert run("--list").stdout.splitlines() == sorted(e.fragment for e in read_errors(ROOT)[0])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            'sqlalchemy.exc.ProgrammingError: (a.b) relation "invoices" does not exist',
            "UndefinedTable",
        ),
        ('relation "invoices" already exists', "DuplicateTable"),
        ('column "total" of relation "invoices" does not exist', "UndefinedColumn"),
        ("column invoices.total does not exist", "UndefinedColumn"),
        ('constraint "fk_buyer" of relation "invoices" does not exist', None),
        ("AttributeError: 'Invoice' object has no attribute 'total'", None),
    ],
)
def test_a_text_known_by_its_class_is_found_by_its_message(text: str, error: str | None) -> None:
    """SQLAlchemy 2.1 prints another class: the message is the same but for its names."""
    assert errors(text) == ([error] if error else [])
