"""`rulebook install`: whole or not at all, twice without harm, never over somebody's work."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rulebook import install as module
from rulebook.cli import main
from rulebook.payload import payload
from tests.harness import ROOT
from tests.install.small import AGENTS, CLAUDE


def content(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("folder", [AGENTS, CLAUDE])
def test_exactly_the_payload_arrives(project: Path, folder: str) -> None:
    """Both agents' folders hold real copies of what ships, and nothing else."""
    assert main(["install", str(project), "--root", str(ROOT)]) == 0

    assert content(project / folder) == payload(ROOT)


def test_it_needs_nothing_but_python(project: Path) -> None:
    """A bare interpreter without a single package installs from a clone."""
    command = [sys.executable, "-S", "-I", str(ROOT / "src" / "rulebook"), "install", str(project)]
    done = subprocess.run(command, capture_output=True, text=True)

    assert (done.returncode, (project / CLAUDE / "SKILL.md").exists()) == (0, True), done.stderr


def test_it_says_what_it_did_and_what_it_costs(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON: each folder with what was done to it, the tokens an agent pays."""
    main(["install", str(project), "--json"])
    printed = json.loads(capsys.readouterr().out)

    done = [each["action"] for each in printed["done"]]
    assert done == ["created"] * 4 + ["installed"] * 2
    assert set(printed["tokens"]) == {"always", "skill", "rule"}


@pytest.mark.parametrize("there", [[], [".claude"], [".agents/skills", ".claude/skills"]])
def test_it_names_every_folder_it_makes_and_removes(
    project: Path, there: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside the skill's own folders nothing appears or goes untold."""
    for folder in there:
        (project / folder).mkdir(parents=True)
        (project / folder / "mine").touch()
    before = set(project.rglob("*"))
    main(["install", str(project)])
    inside = {path for folder in (AGENTS, CLAUDE) for path in (project / folder).rglob("*")}
    after = set(project.rglob("*")) - inside
    made = told(capsys, "created", "installed")
    main(["install", str(project), "--uninstall"])

    assert made == after - before
    assert told(capsys, "removed") == made


def told(capsys: pytest.CaptureFixture[str], *actions: str) -> set[Path]:
    lines = [line.split(" ", 1) for line in capsys.readouterr().out.splitlines()]
    return {Path(path) for action, path in lines if action in actions}


@pytest.mark.parametrize(
    ("agents", "shown"),
    [
        (["--only=claude"], "`/skills` in Claude Code."),
        (["--only=agents"], "codex debug"),
        ([], ""),
    ],
)
def test_it_says_what_to_do_next(
    project: Path, agents: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In three lines: the cost, the next step, how to see it in the agents that were asked for."""
    main(["install", str(project), *agents])

    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["Tokens", "Next:", "To"]
    assert shown in lines[-1]


def test_nothing_follows_from_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where all was there already, there is no next step."""
    main(["install", str(project)])
    capsys.readouterr()
    main(["install", str(project)])

    assert "Next" not in capsys.readouterr().err


@pytest.mark.parametrize("folder", [".", "tests/mutants"])
def test_the_skills_own_repository_is_no_project(
    tmp_path: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever runs it in the clone, or in a folder of it, is told to name another."""
    for name in ("SKILL.md", "src/rulebook/install.py", "tests/mutants/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    before = set(tmp_path.rglob("*"))

    assert main(["install", str(tmp_path / folder), "--force"]) == 2
    assert "name the project" in capsys.readouterr().err
    assert set(tmp_path.rglob("*")) == before


def test_one_agent_only(project: Path) -> None:
    """`--only` leaves the other agent's folder alone."""
    main(["install", str(project), "--only", "claude"])

    assert [path.name for path in project.iterdir()] == [".claude"]


def test_a_second_run_changes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even a time stamp."""
    main(["install", str(project)])
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    capsys.readouterr()
    main(["install", str(project)])

    assert {path: path.stat().st_mtime_ns for path in project.rglob("*")} == before
    assert capsys.readouterr().out.count("unchanged") == 2


def test_an_older_version_of_ours_is_replaced(project: Path, skill: Path) -> None:
    """What this command put there and nobody edited is updated without asking."""
    old = payload(skill)
    old["SKILL.md"] = b"old\n"
    manifest = json.loads(old["MANIFEST.json"])
    manifest["files"]["SKILL.md"] = module.hashlib.sha256(b"old\n").hexdigest()
    old["MANIFEST.json"] = json.dumps(manifest).encode()
    module.write(old, project / AGENTS)

    assert main(["install", str(project), "--only", "agents"]) == 0
    assert content(project / AGENTS) == payload(skill)


def edit(folder: Path) -> None:
    (folder / "SKILL.md").write_text("mine")


def add(folder: Path) -> None:
    (folder / "notes.md").write_text("mine")


def make_foreign(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "SKILL.md").write_text("another skill of that name")


def make_link(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


def make_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("mine")


@pytest.mark.parametrize("change", [edit, add, make_foreign, make_link, make_file])
@pytest.mark.parametrize("option", ["--only=claude", "--uninstall"])
def test_what_is_not_ours_is_refused(
    project: Path, change: object, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither install nor uninstall touches it, nor anything else, and the message names it."""
    main(["install", str(project)])
    change(project / CLAUDE)
    before = content(project)

    assert main(["install", str(project), option]) == 1
    assert content(project) == before
    assert f"{CLAUDE}" in capsys.readouterr().err


def hold(path: Path) -> None:
    path.write_text("mine")


def dangle(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("obstacle", [hold, dangle])
@pytest.mark.parametrize("name", [".claude", ".claude/skills"])
def test_what_is_no_folder_is_named(
    project: Path, obstacle: object, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file or a dead link in the way of a folder: nothing is installed anywhere."""
    (project / name).parent.mkdir(exist_ok=True)
    obstacle(project / name)
    before = set(project.rglob("*"))

    assert main(["install", str(project), "--force"]) == 1
    assert f"{project / name}: is not a folder" in capsys.readouterr().err
    assert set(project.rglob("*")) == before


@pytest.mark.parametrize("change", [edit, add, make_foreign, make_link, make_file])
def test_force_replaces_it(project: Path, skill: Path, change: object) -> None:
    """`--force` is the way out the message names."""
    main(["install", str(project)])
    change(project / CLAUDE)

    assert main(["install", str(project), "--force"]) == 0
    assert content(project / CLAUDE) == payload(skill)


@pytest.mark.parametrize("fails_at", [1, 2])
@pytest.mark.parametrize("present", [True, False])
def test_a_failure_half_way_leaves_what_was_there(
    project: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int, present: bool
) -> None:
    """The disk fills up at the first or the second folder: both are as before."""
    if present:
        main(["install", str(project)])
        edit(project / AGENTS)
        edit(project / CLAUDE)
    before = content(project)
    calls = 0

    def write(files: dict[str, bytes], folder: Path) -> None:
        nonlocal calls
        calls += 1
        module_write(files, folder)
        if calls == fails_at:
            raise OSError("No space left on device")

    module_write = module.write
    monkeypatch.setattr(module, "write", write)

    assert main(["install", str(project), "--force"]) == 2
    assert content(project) == before
    assert [path for path in project.rglob("*") if path.name.startswith(".python-backend")] == []


def test_uninstall_leaves_no_trace(project: Path) -> None:
    """Folders made for the skill go with it; folders with other content stay."""
    (project / ".claude").mkdir()
    (project / ".claude" / "settings.json").write_text("{}")
    main(["install", str(project)])

    assert main(["install", str(project), "--uninstall"]) == 0
    assert [path.relative_to(project).as_posix() for path in project.rglob("*")] == [
        ".claude",
        ".claude/settings.json",
    ]


def test_skill_folders_that_are_one_by_a_link_get_one_copy(project: Path, skill: Path) -> None:
    """Some projects link .claude/skills to .agents/skills."""
    (project / ".agents" / "skills").mkdir(parents=True)
    (project / ".claude").mkdir()
    (project / ".claude" / "skills").symlink_to("../.agents/skills")

    assert main(["install", str(project)]) == 0
    assert content(project / CLAUDE) == payload(skill)


def test_a_project_that_does_not_exist_is_misuse(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is created on a typing error."""
    assert main(["install", str(project / "typo")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert list(project.iterdir()) == []
