"""The workflows name what is here: no file moves away from under a release."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rulebook.cli import main
from tests.harness import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
OURS = re.compile(r"(?<![\w/$.])(?:\.ci|src|scripts|tests|site)/[\w./-]+|[\w-]+\.(?:txt|toml|py)\b")
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return found


def lines(path: Path) -> Iterator[str]:
    """Every line that a shell runs."""
    for job in jobs(path).values():
        for step in job["steps"]:
            yield from step.get("run", "").splitlines()


@each_workflow
def test_each_file_that_a_step_names_is_here(path: Path) -> None:
    """By its path from the top of the repository."""
    named = [name for line in lines(path) for name in OURS.findall(line)]

    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


@each_workflow
def test_each_command_of_ours_exists(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`rulebook COMMAND --help` answers, and knows the options that the step passes."""
    for line in lines(path):
        for command, rest in re.findall(r"src/rulebook (\w+)(.*)", line):
            with pytest.raises(SystemExit, match="0"):
                main([command, "--help"])
            known = capsys.readouterr().out
            assert [name for name in re.findall(r"--[\w-]+", rest) if name not in known] == []


@each_workflow
def test_each_job_says_what_it_may(path: Path) -> None:
    """Nothing is written with the rights that a repository gives by default."""
    everywhere = yaml.safe_load(path.read_text(encoding="utf-8"))["permissions"]
    rights = {name: job.get("permissions", everywhere) for name, job in jobs(path).items()}

    assert [name for name, given in rights.items() if not given] == []


@each_workflow
def test_each_action_has_a_version(path: Path) -> None:
    """A branch of somebody else's is no version."""
    used = [step["uses"] for job in jobs(path).values() for step in job["steps"] if "uses" in step]

    assert used
    assert [name for name in used if not re.search(r"@v\d[\d.]*$", name)] == []


def test_a_release_is_proven_before_anything_is_published() -> None:
    """Every other job waits for the proofs, and PyPI, which keeps a version for good, for all."""
    found = jobs(ROOT / ".github" / "workflows" / "release.yml")
    needs = {name: job.get("needs") for name, job in found.items()}

    assert needs == {
        "proofs": None,
        "dist": "proofs",
        "pages": "proofs",
        "wheel": "proofs",
        "pypi": ["wheel", "dist", "pages"],
    }
