"""The scripts users' agents run: they answer, refuse nonsense clearly, and never hang."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.harness import ROOT

SCRIPTS = [path for path in sorted(ROOT.glob("scripts/*.py")) if path.read_text().startswith("#!")]
FLEET = ["--rate=300", "--hold-ms=50", "--replicas=4", "--workers=2", "--max-connections=100"]


def run(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-E", "-s", "-S", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20
    )


@pytest.fixture(scope="module")
def pool_budget() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pool_budget", ROOT / "scripts/pool_budget.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["pool_budget"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_each_script_explains_itself(script: Path) -> None:
    """Help on stdout, by the standard library alone."""
    done = run(script, "--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert "Exit status" in done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_each_script_is_named_in_skill_md(script: Path) -> None:
    """An agent cannot run what it is not told of."""
    assert f"scripts/{script.name}" in (ROOT / "SKILL.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_each_script_runs_from_a_read_only_folder(script: Path, tmp_path: Path) -> None:
    """Without the executable bit, and without writing beside itself."""
    copy = tmp_path / script.name
    shutil.copyfile(script, copy)
    tmp_path.chmod(0o555)
    try:
        done = run(copy, "--help", cwd=tmp_path)
    finally:
        tmp_path.chmod(0o755)

    assert done.returncode == 0
    assert script.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3\n# /// script\n")


def test_the_pool_is_what_rate_and_hold_time_need() -> None:
    """300/s held 50 ms over 8 processes: 1.875 busy each, 5 with headroom, 50 at deploy peak."""
    done = run("scripts/pool_budget.py", *FLEET, "--json")

    assert json.loads(done.stdout) == {
        "busy": 1.875,
        "need": 5,
        "budget": 9,
        "pool_size": 5,
        "fleet": 50,
        "limit": 90,
        "complaints": [],
    }
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (["--hold-ms=500"], "put PgBouncer in front"),
        (["--pool-size=20", "--max-overflow=10"], "may open 300 connections, the limit is 90"),
        (["--pool-size=2"], "are fewer than the 5 needed"),
        (["--replicas=100"], "the server allows 0"),
    ],
)
def test_what_does_not_fit_is_said_with_what_to_change(change: list[str], complaint: str) -> None:
    """Exit status 1, the reason on stderr, the figures still on stdout."""
    done = run("scripts/pool_budget.py", *FLEET, *change)

    assert (done.returncode, complaint in done.stderr) == (1, True)
    assert "fleet at deploy peak" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        FLEET[1:],
        [*FLEET, "--rate=0"],
        [*FLEET, "--rate=-1"],
        [*FLEET, "--rate=nan"],
        [*FLEET, "--hold-ms=inf"],
        [*FLEET, "--replicas=0"],
        [*FLEET, "--workers=1.5"],
        [*FLEET, "--reserved=100"],
        [*FLEET, "--max-overflow=5"],
        [*FLEET, "--surge=-1"],
    ],
)
def test_nonsense_is_misuse(arguments: list[str]) -> None:
    """One line says what is wrong; no traceback, no figures."""
    done = run("scripts/pool_budget.py", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("busy", [0.01, 1, 5, 50])
def test_headroom_grows_with_the_square_root(pool_budget: ModuleType, busy: float) -> None:
    """The need is never below what is busy, and twice the deviation above it."""
    fleet = pool_budget.Fleet(busy, 1, 1, 1, 0, 1000, 0)

    assert busy <= pool_budget.plan(fleet).need <= busy + 2 * busy**0.5 + 1
