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

AGENTS, CLAUDE = ".agents/skills/python-backend", ".claude/skills/python-backend"


def content(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    return path


@pytest.mark.parametrize("folder", [AGENTS, CLAUDE])
def test_exactly_the_payload_arrives(project: Path, folder: str) -> None:
    """Both agents' folders hold real copies of what ships, and nothing else."""
    assert main(["install", str(project)]) == 0

    assert content(project / folder) == payload(ROOT)


def test_it_needs_nothing_but_python(project: Path) -> None:
    """A bare interpreter without a single package installs from a clone."""
    command = [sys.executable, "-S", "-I", str(ROOT / "src" / "rulebook"), "install", str(project)]
    done = subprocess.run(command, capture_output=True, text=True)

    assert (done.returncode, (project / CLAUDE / "SKILL.md").exists()) == (0, True), done.stderr


def test_it_says_what_it_did_and_what_it_costs(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON: the folders with what was done to them, the tokens an agent pays."""
    main(["install", str(project), "--json"])
    printed = json.loads(capsys.readouterr().out)

    assert [each["action"] for each in printed["folders"]] == ["installed", "installed"]
    assert set(printed["tokens"]) == {"always", "skill", "rule"}


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


def test_an_older_version_of_ours_is_replaced(project: Path) -> None:
    """What this command put there and nobody edited is updated without asking."""
    old = payload(ROOT)
    old["SKILL.md"] = b"old\n"
    manifest = json.loads(old["MANIFEST.json"])
    manifest["files"]["SKILL.md"] = module.hashlib.sha256(b"old\n").hexdigest()
    old["MANIFEST.json"] = json.dumps(manifest).encode()
    module.write(old, project / AGENTS)

    assert main(["install", str(project), "--only", "agents"]) == 0
    assert content(project / AGENTS) == payload(ROOT)


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


@pytest.mark.parametrize("change", [edit, add, make_foreign, make_link, make_file])
def test_force_replaces_it(project: Path, change: object) -> None:
    """`--force` is the way out the message names."""
    main(["install", str(project)])
    change(project / CLAUDE)

    assert main(["install", str(project), "--force"]) == 0
    assert content(project / CLAUDE) == payload(ROOT)


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


def test_skill_folders_that_are_one_by_a_link_get_one_copy(project: Path) -> None:
    """Some projects link .claude/skills to .agents/skills."""
    (project / ".agents" / "skills").mkdir(parents=True)
    (project / ".claude").mkdir()
    (project / ".claude" / "skills").symlink_to("../.agents/skills")

    assert main(["install", str(project)]) == 0
    assert content(project / CLAUDE) == payload(ROOT)


def test_a_project_that_does_not_exist_is_misuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is created on a typing error."""
    assert main(["install", str(tmp_path / "typo")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
