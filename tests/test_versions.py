"""The proofs on other versions: the lowest the rules allow, and newer Pythons."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.harness import ROOT, pages
from tests.harness.debian import debian_python
from tests.harness.interpreters import interpreter, uv

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def floors() -> dict[str, str]:
    """The lowest version of each package that any rule allows; all rules agree on it."""
    return {
        package: floor.removeprefix(">=")
        for page in pages().values()
        for package, floor in page.meta.get("requires", {}).items()
        if package != "python"
    }


def environment(name: str, python: str, requirements: list[str]) -> Path:
    """Build a virtual environment with uv under .cache; return its Python."""
    path = interpreter(python) or debian_python(python, ROOT / ".cache" / "debian" / python)
    folder = ROOT / ".cache" / "versions" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "requirements.txt").write_text("\n".join(requirements), encoding="utf-8")
    venv = folder / "venv"
    install = ["pip", "install", "-q", "--system-certs", "-r", folder / "requirements.txt"]
    for command in (
        ["venv", "-q", "--clear", "--python", path, venv],
        [*install, "--python", venv / "bin/python"],
    ):
        done = subprocess.run([uv(), *map(str, command)], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return venv / "bin" / "python"


def prove(python: Path) -> None:
    """Run the proofs of all rules and error texts; fail with the summary when one of them does."""
    options = ["-q", "-n", "2", "--tb=short", "-p", "no:cacheprovider"]
    # One after the other: in-process servers of the rules' tests keep loggers to themselves.
    for folder in ("tests/rules", "tests/errors"):
        done = subprocess.run(
            [python, "-m", "pytest", *options, folder],
            cwd=ROOT,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.fail(done.stdout[-6000:] + done.stderr[-2000:], pytrace=False)


def test_the_proofs_hold_on_the_lowest_versions() -> None:
    """What `requires` allows is what was run."""
    lowest = floors()
    wanted = (ROOT / "requirements-test.in").read_text(encoding="utf-8").splitlines()
    requirements = []
    for line in wanted:
        package = re.split(r"[\[=<>]", line)[0]
        requirements.append(f"{line}=={lowest[package]}" if package in lowest else line)
    assert set(lowest) <= {re.split(r"[\[=<>]", line)[0] for line in requirements}

    prove(environment("lowest", "3.11", requirements))


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_the_proofs_hold_on_other_pythons(version: str) -> None:
    """The same pins, a newer interpreter."""
    prove(environment(version, version, ["-r ../../../requirements-test.txt"]))
