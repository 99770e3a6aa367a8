"""The hook for pre-commit, run by the real one in a repository of somebody else's."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rulebook.cli import main
from tests.harness import ROOT, pair_of

PRE_COMMIT = Path(sys.executable).with_name("pre-commit")
PAIR = "asyncio/cancellation", "cleanup-that-must-finish"
FINDING = re.compile(r"(?m)^service\.py:11:\d+: .*\[asyncio/cancellation#[a-z0-9-]+\]$")
CONFIG = """\
repos:
  - repo: {hooks}
    rev: {revision}
    hooks:
      - id: python-backend-review
"""


def run(*command: str | Path, cwd: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a command without the machine's git settings and without pre-commit's shared cache."""
    names = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env |= dict.fromkeys(names, "tester") | {"HOME": str(home), "PRE_COMMIT_HOME": str(home)}
    return subprocess.run(
        list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, timeout=50
    )


def git(folder: Path, *arguments: str) -> str:
    done = run("git", *arguments, cwd=folder, home=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module", params=["main", "dist"])
def hooks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hook needs of the branch main, with the modes the files have here; or dist."""
    folder = tmp_path_factory.mktemp("hooks")
    if request.param == "dist":
        assert main(["ship", str(folder)]) == 0
    else:
        shutil.copy2(ROOT / ".pre-commit-hooks.yaml", folder)
        for name in ("scripts", "rules"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "hooks")
    return folder


def committing(code: str, hooks: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run the hook in a repository of one staged file."""
    project, home = tmp_path / "project", tmp_path / "home"
    project.mkdir()
    home.mkdir()
    config = CONFIG.format(hooks=hooks, revision=git(hooks, "rev-parse", "HEAD"))
    (project / ".pre-commit-config.yaml").write_text(config, encoding="utf-8")
    (project / "service.py").write_text(code, encoding="utf-8")
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    return run(PRE_COMMIT, "run", cwd=project, home=home)


@pytest.mark.slow
def test_a_commit_with_a_trap_is_stopped(hooks: Path, tmp_path: Path) -> None:
    """The hook fails, and says which line stands in which trap."""
    half = pair_of(*PAIR).incorrect

    done = committing(half.block.code, hooks, tmp_path)

    assert (done.returncode, len(FINDING.findall(done.stdout))) == (1, 1), done.stdout


@pytest.mark.slow
def test_a_commit_without_one_passes(hooks: Path, tmp_path: Path) -> None:
    """The correct half of the same pair goes through, seen by the hook."""
    half = pair_of(*PAIR).correct

    done = committing(half.block.code, hooks, tmp_path)

    assert (done.returncode, "Passed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_the_hook_can_be_executed() -> None:
    """pre-commit starts the file itself, so git has to record the executable bit."""
    done = subprocess.run(
        ["git", "ls-files", "--stage", "scripts/review.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split()[:1] == ["100755"]
