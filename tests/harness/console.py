"""Blocks that show a terminal: run again, and compared with what the page prints.

`python -m tests.harness.console` writes into the site's pages what their commands print now.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.harness import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "site" / "pages").glob("*.md"))]
FENCE = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*\n)", re.M)
PROGRESS = re.compile(r"^[^\n]+ \.\.\.\n", re.M)  # probe.py says what takes it long
VARIES = (
    (re.compile(r"\b\d+(\.\d+)? ms\b"), "N ms"),
    (re.compile(r"\b127\.0\.0\.1:\d+"), "127.0.0.1:N"),
)


@dataclass(frozen=True)
class Console:
    """One block: where its fence stands, and what it shows."""

    path: Path
    line: int
    text: str

    @property
    def commands(self) -> str:
        """What follows `$ `, with the lines that a backslash carries on."""
        return "".join(COMMAND.findall(self.text))


def consoles(path: Path) -> list[Console]:
    """Every console block of a page."""
    page = path.read_text(encoding="utf-8")
    return [
        Console(path, page.count("\n", 0, block.start()) + 1, block[1])
        for block in FENCE.finditer(page)
    ]


def sample_in(folder: Path) -> Path:
    """Copy the sample below `folder`, a project of its own, and install the skill into it."""
    project = folder / "rooms"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "site" / "sample", project, ignore=ignored)
    install = [sys.executable, ROOT / "src" / "rulebook", "install", project]
    subprocess.run(install, capture_output=True, check=True)
    return project


def printed(console: Console, project: Path) -> str:
    """Run the commands of a block in one shell; return it as a terminal ends up showing it."""
    with tempfile.TemporaryDirectory() as name:
        programs = Path(name)
        for python in ("python", "python3"):  # this one, where the machine has another or none
            program = programs / python
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
            program.chmod(0o755)
        script = programs / "commands"
        script.write_text(console.commands, encoding="utf-8")
        kept = {each: os.environ[each] for each in ("HOME", "LANG") if each in os.environ}
        path = f"{programs}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-v", script],  # -v repeats each command before it runs
            cwd=project,
            env=kept | {"PATH": path, "PYTHONUNBUFFERED": "1"},  # both streams in their order
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=100,
        )
    return _prompted(PROGRESS.sub("", done.stdout), COMMAND.findall(console.text))


def _prompted(output: str, commands: list[str]) -> str:
    shown = ""
    for command in commands:
        before, found, output = output.partition(command)
        shown += f"{before}$ {found}"
    return shown + output


def plain(text: str) -> str:
    """A block without what differs from run to run: durations and ports."""
    for pattern, name in VARIES:
        text = pattern.sub(name, text)
    return text


def main() -> None:
    """Write into each page what its commands print now, where that is something else."""
    with tempfile.TemporaryDirectory() as name:
        project = sample_in(Path(name))
        for console in [each for path in PAGES for each in consoles(path)]:
            now = printed(console, project)
            if plain(now) != plain(console.text):
                print(f"{console.path.relative_to(ROOT)}:{console.line}: prints something else now")
                page = console.path.read_text(encoding="utf-8")
                console.path.write_text(page.replace(console.text, now), encoding="utf-8")


if __name__ == "__main__":
    main()
