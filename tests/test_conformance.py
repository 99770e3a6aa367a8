"""The shipped skill, seen by the validators people use, unmodified; test_validators.py has more."""

import re
import subprocess
import sys
from pathlib import Path

import strictyaml
import yaml

from rulebook.cli import main
from tests.harness import ROOT


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


def tool(name: str) -> Path:
    """A console script beside this interpreter."""
    return Path(sys.executable).with_name(name)


def test_agentskills_finds_it_valid(shipped: Path) -> None:
    """The specification's own validator (PyPI: skills-ref)."""
    done = run(tool("agentskills"), "validate", "skills/python-backend", cwd=shipped)

    assert done.returncode == 0, done.stdout + done.stderr


def test_agnix_has_no_complaint(shipped: Path) -> None:
    """The strictest linter of skills, its warnings taken as errors."""
    done = run(tool("agnix"), "--strict", "skills/python-backend", cwd=shipped)

    assert "Found 0 errors, 0 warnings" in done.stdout, done.stdout + done.stderr


def test_every_yaml_reader_sees_the_same_frontmatter() -> None:
    """Some clients read YAML strictly, without flow lists or bare numbers."""
    front = (ROOT / "SKILL.md").read_text(encoding="utf-8").split("---\n")[1]

    assert strictyaml.load(front).data == yaml.safe_load(front)


def test_every_link_in_skill_md_resolves_where_it_is_installed(tmp_path: Path) -> None:
    """An agent that follows a link finds the file."""
    main(["install", str(tmp_path)])
    folder = tmp_path / ".claude" / "skills" / "python-backend"
    links = re.findall(r"\]\((?!https://)([^)#]+)", (folder / "SKILL.md").read_text("utf-8"))

    assert links
    assert [link for link in links if not (folder / link).is_file()] == []
