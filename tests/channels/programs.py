"""Programs from npm at exact versions, such as users install a skill by. Kept in .cache/."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.harness import ROOT

CACHE = ROOT / ".cache" / "npm"
PROGRAMS = ROOT / ".cache" / "programs"
MACHINE = f"{sys.platform}-{'arm64' if platform.machine() in ('aarch64', 'arm64') else 'x64'}"

SKILLS = ("skills@1.5.12", "skills@1.5.18", "skills@1.7.4")
ADD_SKILL = "add-skill@2.0.0"
CLAUDE = "@anthropic-ai/claude-code@2.1.332"
CODEX = "@openai/codex@0.171.0"
COPILOT = "@github/copilot@1.0.102"
GEMINI = "@google/gemini-cli@0.61.0"
SKILL_CHECK = "skill-check@1.2.0"
NODE_22 = f"node-{MACHINE}@22.23.3"


def skills(package: str) -> list[str | Path]:
    """The command of a version of the skills CLI, by the Node.js it needs."""
    node = node_modules(NODE_22) / f"node-{MACHINE}" / "bin" / "node"
    script = node_modules(package) / "skills" / "bin" / "cli.mjs"
    return [node if package == SKILLS[-1] else "node", script]


def claude() -> list[str | Path]:
    """The command of Claude Code, which is a program of its own."""
    return [node_modules(CLAUDE) / "@anthropic-ai" / f"claude-code-{MACHINE}" / "claude"]


def script(package: str) -> list[str | Path]:
    """The command of a package that runs on the Node.js at hand."""
    names = {CODEX: "codex", COPILOT: "copilot", GEMINI: "gemini", SKILL_CHECK: "skill-check"}
    return ["node", (node_modules(package) / ".bin" / names[package]).resolve()]


def node_modules(package: str) -> Path:
    """The node_modules of a package of its own, installed when it is not there yet."""
    if shutil.which("npm") is None:
        pytest.skip("needs Node.js with npm, which installs what this test runs")
    folder = PROGRAMS / package.replace("/", "+")
    if not folder.exists():
        PROGRAMS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=PROGRAMS) as fresh:
            done = subprocess.run(
                ["npm", "install", "--ignore-scripts", "--prefix", f"{fresh}/new", package],
                env=os.environ | {"npm_config_cache": str(CACHE)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            Path(fresh, "new").rename(folder)
    return folder / "node_modules"


def as_global(package: str) -> str:
    """A prefix under which npx finds the package as one that was installed globally."""
    prefix = node_modules(package).parent
    (prefix / "bin").mkdir(exist_ok=True)
    for program in (prefix / "node_modules" / ".bin").iterdir():
        link = prefix / "bin" / program.name
        if not link.is_symlink():
            link.symlink_to(program)
    return str(prefix)
