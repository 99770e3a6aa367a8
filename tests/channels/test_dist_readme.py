"""Each line that the README of the branch dist tells a user to type, as it stands there."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from rulebook.dist import readme
from tests.channels import programs
from tests.channels.origin import OWNER
from tests.channels.user import User, content
from tests.harness import ROOT


def typed(text: str) -> list[str]:
    """What the code blocks of a README tell a user to type."""
    return "".join(re.findall(r"(?s)```bash\n(.*?)```", text)).splitlines()


LINES = [line for line in typed(readme(OWNER)) if not line.startswith("uvx")]
COMMANDS: dict[str, Callable[[], list[str | Path]]] = {
    "claude": programs.claude,
    "codex": lambda: programs.script(programs.CODEX),
    "copilot": lambda: programs.script(programs.COPILOT),
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("head", ["main", "dist"])
@pytest.mark.parametrize("line", LINES)
def test_a_line_installs_the_payload(user: User, tmp_path: Path, head: str, line: str) -> None:
    """Whichever branch is the default; of two folders, for two agents, one is looked at."""
    name = line.split()[0]
    tools = {"npm_config_prefix": programs.as_global(programs.SKILLS[1])}
    if name in COMMANDS:
        program = tmp_path / "bin" / name
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, COMMANDS[name]()))} "$@"\n')
        program.chmod(0o755)
    user.run("sh", "-c", f'PATH="{tmp_path}/bin:$PATH"; {line}', **tools)
    found = [*user.home.glob(".*/**/SKILL.md"), *user.project.glob(".agents/**/SKILL.md")]
    installed = [content(path.parent) for path in found if "marketplaces" not in path.parts]

    own = (".in_use", ".codex-plugin")
    assert [
        {name: data for name, data in files.items() if not name.startswith(own)}
        for files in installed
    ] == [user.origin.shipped()]


def test_the_readme_tells_something_for_every_agent() -> None:
    """No channel is lost by an edit of the text."""
    assert [line.split()[0] for line in LINES] == ["npx", "claude", "codex", "copilot"]


def test_main_tells_the_same() -> None:
    """Its README has these lines, and others that test_wheel.py and install/test_install.py run."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    own = typed(text.partition("## Install")[2].partition("\n## ")[0])

    assert [line for line in LINES if line not in own] == []
    assert [line for line in own if line not in LINES] == [
        "uv add --dev python-backend-skill"
        " && uvx library-skills --skill python-backend --yes --claude",
        "uvx --from python-backend-skill python-backend-review .",
        "python3 src/rulebook install ../my-project",
    ]
