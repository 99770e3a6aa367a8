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
    folder = tmp_path / "scripts"
    shutil.copytree(script.parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    folder.chmod(0o555)
    try:
        done = run(folder / script.name, "--help", cwd=folder)
    finally:
        folder.chmod(0o755)

    assert done.returncode == 0
    assert script.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3\n# /// script\n")


def test_the_pool_is_what_rate_and_hold_time_need() -> None:
    """300/s held 50 ms by 8 processes: 1.875 busy each, 5 with headroom, 12 at deploy peak."""
    done = run("scripts/pool_budget.py", *FLEET, "--json")

    assert json.loads(done.stdout) == {
        "busy": 1.875,
        "need": 5,
        "budget": 7,
        "pool_size": 5,
        "fleet": 60,
        "limit": 90,
        "complaints": [],
    }
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (["--hold-ms=500"], "put PgBouncer in front"),
        (["--pool-size=20", "--max-overflow=10"], "may open 360 connections, the limit is 90"),
        (["--pool-size=2"], "pool_size + max_overflow of 2 is below the 5 needed"),
        (["--replicas=100"], "300 processes at the peak of a deploy share 90 connections"),
        (["--replicas=100", "--pool-size=1"], "run fewer replicas or workers"),
    ],
)
def test_what_does_not_fit_is_said_with_what_to_change(change: list[str], complaint: str) -> None:
    """Exit status 1, the reason on stderr, the figures still on stdout."""
    done = run("scripts/pool_budget.py", *FLEET, *change)

    assert (done.returncode, complaint in done.stderr) == (1, True)
    assert "fleet at deploy peak" in done.stdout


@pytest.mark.parametrize("judged", [[], ["--pool-size=1"]], ids=["recommended", "judged"])
def test_where_not_one_connection_a_process_fits_no_size_is_advised(judged: list[str]) -> None:
    """SQLAlchemy takes 0 for no limit, so it is never an answer; nor is `at most 0` advice."""
    done = run("scripts/pool_budget.py", *FLEET, "--replicas=100", *judged, "--json")
    found = json.loads(done.stdout)

    assert found["pool_size"] == (1 if judged else None)
    assert found["fleet"] == 300
    assert len(found["complaints"]) == 1
    assert not [each for each in found["complaints"] if "at most 0" in each or "are needed" in each]


@pytest.mark.parametrize(
    ("deploy", "processes"),
    [
        ([], 20 + 5 + 5),
        (["--replicas=3"], 3 + 1),
        (["--surge=0", "--draining=0"], 20),
        (["--surge=1", "--draining=20"], 41),
    ],
)
def test_replicas_that_start_and_replicas_that_drain_count(
    deploy: list[str], processes: int
) -> None:
    """Kubernetes' defaults start a quarter more, and at once end a quarter, which still drain."""
    arguments = ["--rate=1", "--hold-ms=1", "--replicas=20", "--max-connections=100", *deploy]

    done = run("scripts/pool_budget.py", *arguments, "--json")

    assert json.loads(done.stdout)["fleet"] == processes


def test_other_services_on_the_server_are_named() -> None:
    """What they open has to be left to them."""
    done = run("scripts/pool_budget.py", "--help")

    assert "other services" in " ".join(done.stdout.split())


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
        [*FLEET, "--draining=-1"],
        [*FLEET, "--rate=abc"],
        [*FLEET, "--rate=1e308", "--hold-ms=1e308"],
        [*FLEET, "--replicas=" + "9" * 400],
    ],
)
def test_nonsense_is_misuse(arguments: list[str]) -> None:
    """One line says what is wrong; no traceback, no figures."""
    done = run("scripts/pool_budget.py", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("pool_budget.py: error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("busy", [0.01, 1, 5, 50])
def test_headroom_grows_with_the_square_root(pool_budget: ModuleType, busy: float) -> None:
    """The need is never below what is busy, and twice the deviation above it."""
    fleet = pool_budget.Fleet(busy, 1, 1, 1, 0, 0, 1000, 0)

    assert busy <= pool_budget.plan(fleet).need <= busy + 2 * busy**0.5 + 1
