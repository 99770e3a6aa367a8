"""The shipped skill, seen by the tools people use: validators and installers, unmodified."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import strictyaml
import yaml

from rulebook.cli import main
from rulebook.payload import payload
from tests.harness import ROOT

SKILLS = "skills@1.5.18"  # the newest that runs on Node 20
CLAUDE = "@anthropic-ai/claude-code@2.1.332"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds skills/python-backend, as `rulebook ship` writes it."""
    folder = tmp_path_factory.mktemp("shipped") / "dist"
    assert main(["ship", str(folder)]) == 0
    return folder


def run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def tool(name: str) -> Path:
    """A console script beside this interpreter."""
    return Path(sys.executable).with_name(name)


def npm_environment(home: Path) -> dict[str, str]:
    """An empty HOME, telemetry off, and npm's downloads kept from one run to the next."""
    cache = str(ROOT / ".cache" / "npm")
    return {"HOME": str(home), "npm_config_cache": cache, "DISABLE_TELEMETRY": "1"}


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


def test_the_skills_cli_installs_exactly_the_payload(shipped: Path, tmp_path: Path) -> None:
    """`npx skills add` copies what ships, and nothing else, into both agents' folders."""
    if shutil.which("npx") is None:
        pytest.skip("needs Node.js with npx to run the skills CLI")
    project, home = tmp_path / "project", tmp_path / "home"
    project.mkdir()
    home.mkdir()
    options = ["-a", "claude-code", "codex", "--copy", "-y"]
    command = ["npx", "--yes", SKILLS, "add", shipped, *options]
    done = run(*command, cwd=project, **npm_environment(home))
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = payload(ROOT)
    arrived = {
        path.relative_to(project).as_posix(): path.read_bytes()
        for path in project.rglob("*")
        if path.is_file() and path.name != "skills-lock.json"
    }

    assert arrived == {
        f"{folder}/skills/python-backend/{name}": data
        for folder in (".agents", ".claude")
        for name, data in wanted.items()
    }


def test_every_link_in_skill_md_resolves_where_it_is_installed(tmp_path: Path) -> None:
    """An agent that follows a link finds the file."""
    main(["install", str(tmp_path)])
    folder = tmp_path / ".claude" / "skills" / "python-backend"
    links = re.findall(r"\]\((?!https://)([^)#]+)", (folder / "SKILL.md").read_text("utf-8"))

    assert links
    assert [link for link in links if not (folder / link).is_file()] == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_claude_finds_the_plugin_valid(tmp_path: Path) -> None:
    """`claude plugin validate --strict` on the repository; its program is 381 MB, hence slow."""
    home = tmp_path / "home"
    home.mkdir()
    npm = npm_environment(home)
    done = run(
        "npm", "install", "--ignore-scripts", "--prefix", tmp_path, CLAUDE, cwd=tmp_path, **npm
    )
    assert done.returncode == 0, done.stderr
    (claude,) = tmp_path.glob("node_modules/@anthropic-ai/claude-code-linux-x64/claude")
    done = run(claude, "plugin", "validate", "--strict", ROOT, cwd=tmp_path, HOME=str(home))

    assert done.returncode == 0, done.stdout + done.stderr
