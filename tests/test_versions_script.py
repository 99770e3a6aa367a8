"""scripts/versions.py: what is proven of a lock file, what bites there, and how it says so."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ROOT
from tests.test_lockfiles import UV, script
from tests.test_versions import floors

versions = script("versions")
FACTS = script("version_facts").FACTS

VERIFIED = json.loads((ROOT / "MANIFEST.json").read_text(encoding="utf-8"))["verified"]
FLOORS = {"python": ">=3.11"} | {name: f">={floor}" for name, floor in floors().items()}
Answer = tuple[int, dict[str, Any]]


@pytest.fixture(autouse=True)
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The skill's manifest, with the floors of the rules."""
    path = tmp_path / "MANIFEST.json"
    path.write_text(json.dumps({"floors": FLOORS, "verified": VERIFIED}))
    monkeypatch.setattr(versions, "MANIFEST", path)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def ask(project: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Ask about a project that locks these packages; the exit status, and the JSON printed."""

    def asked(*locked: tuple[str, str], python: str = "") -> Answer:
        if python:
            (project / ".python-version").write_text(f"{python}\n")
        (project / "uv.lock").write_text(lock(*locked))
        status = versions.main([str(project), "--json"])
        return status, json.loads(capsys.readouterr().out)

    return asked


def lock(*locked: tuple[str, str]) -> str:
    entry = '[[package]]\nname = "{}"\nversion = "{}"\nsource = {{ registry = "x" }}\n'
    entries = [entry.format(*each) for each in locked]
    return "\n".join(["version = 1\n", *(entries or ["package = []\n"])])


def statuses(answer: Answer) -> dict[str, str]:
    return {each["name"]: each["status"] for each in answer[1]["packages"]}


def told(answer: Answer, key: str = "traps") -> list[str]:
    return [each["because"] for each in answer[1][key]]


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("fastapi", "0.165.0", "proven"),
        ("fastapi", "0.165", "proven"),
        ("fastapi", "0.165.0+company.1", "proven"),
        ("fastapi", "0.165.0rc1", "supported"),
        ("fastapi", "0.122.0", "supported"),
        ("fastapi", "0.122.0b1", "below the floor"),
        ("fastapi", "0.121.3", "below the floor"),
        ("fastapi", "0.165.1", "newer than proven"),
        ("fastapi", "1!0.1", "newer than proven"),
        ("fastapi", "not-a-version", "unknown"),
        ("uvicorn", "0.1", "unknown"),
        ("uvicorn", "0.55", "newer than proven"),
    ],
)
def test_a_version_is_judged_by_the_floor_and_by_what_was_run(
    name: str, version: str, expected: str
) -> None:
    """FastAPI 0.122 is the floor, 0.165.0 was run; for uvicorn there is no floor."""
    known = {"fastapi": ("0.122", "0.165.0"), "uvicorn": ("", "0.54.0")}

    assert versions.judge(version, *known[name]) == expected


def test_what_was_run_is_proven_and_has_no_traps_of_its_own(ask: Any) -> None:
    """The pins of the tests: status 0, and nothing that the pages do not say."""
    answer = ask(*VERIFIED.items(), ("greenlet", "3.2.4"), python="3.14")

    assert (answer[0], set(statuses(answer).values())) == (0, {"proven"})
    assert (told(answer), told(answer, "ahead")) == ([], [])


def test_the_lowest_that_the_rules_allow_is_not_below_the_floor(ask: Any) -> None:
    """Every `requires` of every rule, met exactly."""
    status, answer = ask(*floors().items(), python="3.11")

    assert status == 0
    assert "below the floor" not in {each["status"] for each in answer["packages"]}


def test_of_several_locked_versions_the_worst_decides(ask: Any) -> None:
    """A fork by marker: both versions are listed, and one below the floor is exit status 1."""
    status, answer = ask(("fastapi", "0.165.0"), ("fastapi", "0.100.0"))
    (package,) = answer["packages"]

    assert (status, package["status"]) == (1, "below the floor")
    assert package["installed"] == "0.100.0, 0.165.0"


def test_names_are_compared_as_indexes_compare_them(ask: Any) -> None:
    """PEP 503: case, dots, hyphens and underscores are the same name."""
    assert statuses(ask(("Prometheus_Client", "0.26.0"))) == {"prometheus-client": "proven"}


def test_a_source_that_is_no_index_tells_no_version(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown, and it is said why; the version in the file is not judged."""
    (project / "uv.lock").write_text(UV)
    status = versions.main([str(project)])
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("sqlalchemy")]

    assert (status, "unknown" in line, "comes from a git" in line) == (0, True, True)


def test_the_readers_example_is_told(ask: Any) -> None:
    """FastAPI 0.136: the client reads 201 for a COMMIT that failed."""
    answer = ask(("fastapi", "0.136.0"))

    assert [each for each in told(answer) if "201 for a COMMIT that failed" in each]
    assert all(each.startswith("fastapi 0.136.0: ") for each in told(answer))


@pytest.mark.parametrize("fact", FACTS, ids=lambda each: f"{each.package}{each.versions}")
def test_each_fact_is_told_where_it_bites(fact: Any, ask: Any) -> None:
    """On the lowest version it names, with what has to be locked beside it."""
    first = fact.versions.split(",")[0]
    version = first.removeprefix(">=") if first.startswith(">=") else "0.1"
    locked = [(name, "99") for name in fact.beside[:1]]
    if fact.package == "python":
        answer = ask(*locked, python=version)
    else:
        answer = ask((fact.package, version), *locked)

    assert f"{fact.package} {version}: {fact.because}" in told(answer)


@pytest.mark.parametrize(
    ("locked", "package"),
    [
        ([("sqlalchemy", "2.0.60")], "sqlalchemy"),
        ([("sqlalchemy", "2.1.9"), ("asyncpg", "0.32.0"), ("greenlet", "3.2")], "sqlalchemy"),
        ([("sqlalchemy", "2.1.9"), ("psycopg2", "2.9")], "sqlalchemy"),
        ([("httpx", "0.28.1")], "httpx"),
        ([("asyncpg", "0.32.0")], "asyncpg"),
        ([("fastapi", "not-a-version")], "fastapi"),
    ],
)
def test_a_fact_is_not_told_where_it_is_not_true(
    locked: list[tuple[str, str]], package: str, ask: Any
) -> None:
    """Without its driver, beside greenlet, without the other library, above its range."""
    assert [each for each in told(ask(*locked)) if each.startswith(f"{package} ")] == []


def test_what_no_upgrade_ends_is_true_of_the_newest(ask: Any) -> None:
    """Two libraries that do not catch each other's errors."""
    _, answer = ask(("httpx", "0.28.1"), ("httpx2", VERIFIED["httpx2"]))

    assert [each["newest"] for each in answer["traps"]] == [True]


def test_a_list_that_leaves_out_dependencies_does_not_miss_greenlet(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """requirements.txt need not name what `sqlalchemy[asyncio]` needs."""
    (project / "requirements.txt").write_text("sqlalchemy[asyncio]==2.1.9\nasyncpg==0.32.0\n")
    versions.main([str(project), "--json"])

    assert json.loads(capsys.readouterr().out)["traps"] == []


def test_what_an_upgrade_brings_is_told(ask: Any) -> None:
    """What is not so yet, and is on the version that was run."""
    ahead = told(ask(("fastapi", "0.117.1")), "ahead")

    assert [each.partition(":")[0] for each in ahead] == [
        "fastapi from 0.118",
        "fastapi from 0.137",
    ]


@pytest.mark.parametrize(
    ("python", "status", "code"),
    [
        ("3.10", "below the floor", 1),
        ("3.11.7", "proven", 0),
        ("cpython-3.14.2", "proven", 0),
        ("3.15", "newer than proven", 0),
    ],
)
def test_the_pinned_python_is_judged(python: str, status: str, code: int, ask: Any) -> None:
    """The feature release of .python-version decides."""
    answer = ask(python=python)

    assert (answer[0], statuses(answer)) == (code, {"python": status})


def test_a_declared_python_is_told_by_its_lowest(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A range is not installed: unknown, with the traps of the lowest release it allows."""
    (project / "pyproject.toml").write_text('[project]\nrequires-python = ">=3.12"\n')
    status = versions.main([str(project), "--json"])
    answer = json.loads(capsys.readouterr().out)

    assert (status, statuses((status, answer))) == (0, {"python": "unknown"})
    assert told((0, answer))
    assert all(each.startswith("python 3.12, which is allowed: ") for each in told((0, answer)))


def test_which_file_was_read_is_said_and_why(ask: Any, project: Path) -> None:
    """A lock file comes before what is declared; what was left out is named."""
    for name in ("poetry.lock", "requirements.txt", "pyproject.toml"):
        (project / name).write_text("")
    answer = ask(("fastapi", "0.165.0"))[1]

    assert [Path(each).name for each in answer["files"]] == ["uv.lock"]
    assert [Path(each).name for each in answer["not read"]] == [
        "poetry.lock",
        "requirements.txt",
        "pyproject.toml",
    ]
    assert answer["why"] == "a lock file says what is installed"


def misuse(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said on standard error by a call that has to fail, and prints nothing else."""
    status = versions.main(arguments)
    printed = capsys.readouterr()
    assert (status, printed.out) == (2, "")
    return printed.err


def test_lock_files_in_subfolders_are_named_and_not_read(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A monorepo has several answers: which is asked for has to be said."""
    (project / "backend").mkdir()
    (project / "backend" / "uv.lock").write_text(lock(("fastapi", "0.165.0")))

    assert f"{project}/backend (uv.lock)" in misuse(capsys, str(project))


@pytest.mark.parametrize("path", ["missing", "README.md", "\0", "x" * 5000])
def test_a_path_that_tells_nothing_is_misuse(
    path: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No such file, one of another kind, and no path at all."""
    (project / "README.md").write_text("# fastapi==0.1")

    assert misuse(capsys, str(project / path)).startswith("versions.py: ")


@pytest.mark.parametrize("held", [None, "{", "[]", '{"verified": {"fastapi": "0.165.0"}}'])
def test_a_skill_without_its_floors_says_so(
    held: str | None, manifest: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half an installation is no project without faults."""
    manifest.unlink() if held is None else manifest.write_text(held)

    assert "install" in misuse(capsys, str(project))


def test_the_script_runs_by_the_standard_library_alone(manifest: Path, project: Path) -> None:
    """As a copy in another folder, on a lock file that tries to steer the terminal."""
    (manifest.parent / "scripts").mkdir()
    for name in ("versions.py", "lockfiles.py", "requirements.py", "version_facts.py"):
        shutil.copy(ROOT / "scripts" / name, manifest.parent / "scripts")
    (project / "Pipfile.lock").write_text(r'{"default": {"fastapi": "==\u001b[2J\ud800"}}')
    done = subprocess.run(
        [sys.executable, "-E", "-s", "-S", manifest.parent / "scripts" / "versions.py"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert (done.returncode, done.stderr, "\x1b" in done.stdout) == (0, "", False)
    assert "fastapi  ?[2J?      unknown" in done.stdout
