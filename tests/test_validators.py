"""The dist tree, seen by programs of others that are heavy to install: each at one version."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.channels import programs
from tests.harness import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SCANNER = "cisco-ai-skill-scanner==2.3.2"
# What the scanner reports above LOW, and why that stays.
ACCEPTED = {
    ("DATA_EXFIL_NETWORK_REQUESTS", "examples/orders/lifespan.py"): "it is a client's session"
}


def run(*command: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with an empty home, where no setting of the developer's is."""
    return subprocess.run(
        command,
        cwd=home,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("tree", ["main", "dist"])
def test_claude_finds_the_marketplace_valid(shipped: Path, tmp_path: Path, tree: str) -> None:
    """`claude plugin validate --strict`, on the repository and on what it ships."""
    folder = {"main": ROOT, "dist": shipped}[tree]
    done = run(*programs.claude(), "plugin", "validate", "--strict", folder, home=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def test_skill_check_has_no_complaint(shipped: Path, tmp_path: Path) -> None:
    """Neither an error nor a warning (npm: skill-check)."""
    options = ["--no-security-scan", "--format", "json"]
    command = [*programs.script(programs.SKILL_CHECK), "check", *options]
    done = run(*command, shipped / "skills", home=tmp_path)

    assert json.loads(done.stdout)["diagnostics"] == []


def test_the_security_scanner_finds_nothing_unexplained(shipped: Path, tmp_path: Path) -> None:
    """Cisco's scanner, with its dataflow analysis: nothing above LOW but what is named here."""
    report = tmp_path / "report.json"
    options = ["--use-behavioral", "--use-trigger", "--format", "json", "--output", report]
    done = run(*scanner(), "scan", shipped / "skills" / "python-backend", *options, home=tmp_path)
    assert report.exists(), done.stdout + done.stderr
    findings = json.loads(report.read_text(encoding="utf-8"))["findings"]
    serious = [each for each in findings if each["severity"] not in ("SAFE", "INFO", "LOW")]

    assert {(each["rule_id"], each["file_path"]) for each in serious} == set(ACCEPTED)


def scanner() -> list[str | Path]:
    """The scanner's command, in an environment of its own that is kept in .cache/."""
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = ROOT / ".cache" / "scanner" / f"{SCANNER}-python{minor}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as fresh:
            for command in (
                [sys.executable, "-m", "venv", "--without-pip", f"{fresh}/new"],
                [sys.executable, "-m", "pip", "--python", f"{fresh}/new", "install", "-q", SCANNER],
            ):
                subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
            Path(fresh, "new").rename(folder)
    return [folder / "bin" / "python", "-m", "skill_scanner.cli.cli"]
