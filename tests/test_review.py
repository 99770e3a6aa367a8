"""scripts/review.py as a command: what it prints, what it reads, and that nothing ends it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sarif_pydantic import Sarif

from tests.harness import ROOT
from tests.harness.cases import reviewer

SCRIPT = ROOT / "scripts" / "review.py"
SHIELD = "asyncio/cancellation#shield-without-a-reference"
BAD = "import asyncio\n\n\nasync def f(save):\n    await asyncio.shield(save())\n"
ENV = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-S", str(SCRIPT), *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=ENV,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def read(folder: Path, *arguments: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run(folder, "--json", *arguments).stdout)
    return answer


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with one file that holds one trap, on line 5."""
    (tmp_path / "app.py").write_text(BAD, encoding="utf-8")
    return tmp_path


def test_a_finding_is_a_line_and_the_next_steps_are_messages(project: Path) -> None:
    """Place, what happens, what to write, the trap's name; then the rule to read."""
    done = run(project)
    (line,) = done.stdout.splitlines()

    assert done.returncode == 1
    assert line.startswith("app.py:5:11: ")
    assert "; instead: " in line
    assert line.endswith(f" [{SHIELD}]")
    assert "1 finding" in done.stderr
    assert "rules/asyncio/cancellation.md" in done.stderr
    assert "linters.toml" in done.stderr


def test_json_says_the_same(project: Path) -> None:
    """Findings, hints, and what could not be read, for a program."""
    (project / "broken.py").write_text("def (:\n", encoding="utf-8")
    answer = read(project)

    assert [(each["path"], each["line"], each["trap"]) for each in answer["findings"]] == [
        ("app.py", 5, SHIELD)
    ]
    assert [(each["path"], each["line"]) for each in answer["unread"]] == [("broken.py", 1)]
    assert answer["hints"] == []


def test_sarif_is_valid_and_names_its_rules(project: Path) -> None:
    """What GitHub code scanning reads."""
    done = run(project, "--sarif")
    log = Sarif.model_validate_json(done.stdout)

    assert done.returncode == 1
    assert [each.rule_id for each in log.runs[0].results or ()] == [SHIELD]
    assert [each.id for each in log.runs[0].tool.driver.rules or ()] == [SHIELD]


@pytest.mark.parametrize("name", [SHIELD, "shield-without-a-reference", "retry-loops"])
def test_explain_prints_what_the_page_says(name: str, tmp_path: Path) -> None:
    """A trap or a pair, by its whole name or its last part."""
    done = run(tmp_path, "--explain", name)

    assert done.returncode == 0
    assert f"{name.rpartition('#')[2]}, rules/asyncio/cancellation.md" in done.stdout


def test_an_unknown_trap_is_misuse_that_names_the_nearest(tmp_path: Path) -> None:
    """A slip of the pen is answered by the name that was meant."""
    done = run(tmp_path, "--explain", "shield-without-reference")

    assert (done.returncode, done.stdout) == (2, "")
    assert SHIELD in done.stderr


def test_an_ignore_needs_its_reason(project: Path) -> None:
    """With one the finding is gone; without one the comment is a finding too."""
    with_reason = BAD.rstrip() + "  # python-backend: ignore[shield-without-a-reference] kept\n"
    (project / "app.py").write_text(with_reason, encoding="utf-8")
    (project / "bare.py").write_text(with_reason.replace(" kept", ""), encoding="utf-8")

    found = [(each["path"], each["trap"]) for each in read(project)["findings"]]

    assert found == [("bare.py", SHIELD), ("bare.py", "review#ignore-without-reason")]


def test_an_ignore_may_stand_alone_above_its_line(project: Path) -> None:
    """A long line leaves no room for a reason."""
    comment = f"    # python-backend: ignore[{SHIELD}] kept by the caller\n    await"
    (project / "app.py").write_text(BAD.replace("    await", comment), encoding="utf-8")

    assert read(project)["findings"] == []


@pytest.mark.parametrize(
    ("comment", "trap", "instead"),
    [
        ("ignore[shield-without-reference] kept", "unknown-trap", "shield-without-a-reference"),
        ("ignore[shield-without-a-reference] kept", "unused-ignore", "remove the comment"),
    ],
)
def test_an_ignore_of_nothing_is_a_finding(
    tmp_path: Path, comment: str, trap: str, instead: str
) -> None:
    """A comment that hides nothing hides what comes later."""
    (tmp_path / "app.py").write_text(f"x = 1  # python-backend: {comment}\n", encoding="utf-8")
    (found,) = read(tmp_path)["findings"]

    assert found["trap"] == f"review#{trap}"
    assert instead in found["instead"]


def test_the_text_of_an_ignore_in_a_string_is_none(tmp_path: Path) -> None:
    """Only a comment speaks to the tool."""
    (tmp_path / "app.py").write_text('x = "# python-backend: ignore[x] y"\n', encoding="utf-8")

    assert read(tmp_path)["findings"] == []


def test_diff_reads_changed_lines_and_new_files(project: Path) -> None:
    """What was there before is left alone; what git does not know yet is read whole."""
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "first")
    (project / "app.py").write_text(BAD + "    await asyncio.shield(save(2))\n", encoding="utf-8")
    (project / "päth new.py").write_text(BAD, encoding="utf-8")

    found = {(each["path"], each["line"]) for each in read(project, "--diff")["findings"]}

    assert found == {("app.py", 6), ("päth new.py", 5)}


def test_diff_without_a_checkout_is_misuse(project: Path) -> None:
    """The reason is said, and nothing is reviewed instead."""
    done = run(project, "--diff")

    assert (done.returncode, done.stdout) == (2, "")
    assert "--diff needs a git checkout" in done.stderr


def test_diff_against_no_commit_is_misuse(project: Path) -> None:
    """A base that git does not know, and none that git would take for an option."""
    git(project, "init", "-q")
    done = run(project, "--diff=--output=x")

    assert (done.returncode, [each.name for each in project.glob("x*")]) == (2, [])


def test_what_git_ignores_is_left_out(project: Path) -> None:
    """A checkout says itself what is not its own."""
    git(project, "init", "-q")
    (project / ".gitignore").write_text("made/\n", encoding="utf-8")
    (project / "made").mkdir()
    (project / "made" / "copy.py").write_text(BAD, encoding="utf-8")

    assert {each["path"] for each in read(project)["findings"]} == {"app.py"}


@pytest.mark.parametrize("folder", [".venv", "node_modules", ".agents/skills/x"])
def test_other_peoples_folders_are_left_out(project: Path, folder: str) -> None:
    """Also where there is no git to say so."""
    (project / folder).mkdir(parents=True)
    (project / folder / "copy.py").write_text(BAD, encoding="utf-8")

    assert {each["path"] for each in read(project)["findings"]} == {"app.py"}


def test_a_file_is_read_with_its_project_around_it(tmp_path: Path) -> None:
    """Names are followed through modules that were not asked for, as pre-commit needs."""
    (tmp_path / "tools.py").write_text("from asyncio import shield as keep\n", encoding="utf-8")
    code = "from tools import keep\n\n\nasync def f(save):\n    await keep(save())  # shield\n"
    (tmp_path / "app.py").write_text(code, encoding="utf-8")

    assert [each["trap"] for each in read(tmp_path, "app.py")["findings"]] == [SHIELD]


@pytest.mark.parametrize(("wanted", "listings"), [(".", 1), ("app", 2)])
def test_a_checkout_is_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, listings: int
) -> None:
    """What is asked for is not listed again where it is the whole project."""
    checkout, log = tmp_path / "checkout", tmp_path / "log"
    (checkout / "app").mkdir(parents=True)
    (checkout / "app" / "main.py").write_text(BAD, encoding="utf-8")
    git(checkout, "init", "-q")
    counting = tmp_path / "git"
    counting.write_text(f'#!/bin/sh\necho x >> {log}\nPATH={ENV["PATH"]} exec git "$@"\n')
    counting.chmod(0o755)
    monkeypatch.setitem(ENV, "PATH", f"{tmp_path}{os.pathsep}{ENV['PATH']}")

    run(checkout, wanted)

    assert len(log.read_text(encoding="utf-8").splitlines()) == listings


def test_a_missing_path_is_misuse(tmp_path: Path) -> None:
    """A path that is not there is said, before anything is read."""
    done = run(tmp_path, "nowhere")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "review.py: nowhere: no such file or folder\n"


def test_a_reader_may_leave(project: Path) -> None:
    """`review.py | head` ends without a traceback."""
    command = f"{sys.executable} -S {SCRIPT} --explain retry-loops | head -n 1"
    done = subprocess.run(command, shell=True, cwd=project, capture_output=True, text=True)  # noqa: S602

    assert (done.stdout, done.stderr) == ("## Retry loops\n", "")


BAD_INPUT = {
    "null.py": b"x = 1\0\n",
    "latin.py": b"# -*- coding: utf-8 -*-\nx = '\xe9'\n",
    "unknown.py": b"# -*- coding: no-such -*-\n",
    "template.py": b"from {{ name }} import x\n",
    "deep.py": b"x = " + b"(" * 5000 + b")" * 5000 + b"\n",
    "long.py": b"x = 1\n" * 1_000_000,
    "number.py": b"x = " + b"9" * 5000 + b"\n",
    "notebook.ipynb": b"{}",
}


def test_what_cannot_be_read_is_one_line_and_the_others_go_on(project: Path) -> None:
    """Null bytes, wrong encodings, templates, depth, a million lines, a notebook."""
    for name, content in BAD_INPUT.items():
        (project / name).write_bytes(content)
    done = run(project, "--json", *BAD_INPUT, "app.py")
    answer = json.loads(done.stdout)

    assert [each["path"] for each in answer["findings"]] == ["app.py"]
    assert {each["path"] for each in answer["unread"]} == set(BAD_INPUT)
    assert "Traceback" not in done.stderr


def test_a_circle_of_links_ends(project: Path) -> None:
    """A folder that contains itself is read once."""
    (project / "again").symlink_to(project, target_is_directory=True)

    assert [each["path"] for each in read(project)["findings"]] == ["app.py"]


def test_a_circle_of_imports_ends(tmp_path: Path) -> None:
    """Modules that re-export each other's names say nothing, and nothing hangs."""
    for one, other in (("a", "b"), ("b", "a")):
        text = f"from {other} import *\nfrom {other} import keep\nx = keep\nkeep(x())  # shield\n"
        (tmp_path / f"{one}.py").write_text(text, encoding="utf-8")

    assert read(tmp_path) == {"findings": [], "hints": [], "unread": []}


def test_many_processes_find_what_one_does(tmp_path: Path) -> None:
    """A large tree is shared among the cores, and facts of one module reach all."""
    names = [f"m{number}.py" for number in range(410)]
    for name in names:
        (tmp_path / name).write_text(BAD, encoding="utf-8")
    files = {name: tmp_path / name for name in names}
    alone, shared = (reviewer().review(names, files, cores=cores).found for cores in (1, 2))

    assert alone == shared
    assert len(alone) == len(names)
