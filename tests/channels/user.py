"""Somebody with an empty home and a project, for whom github.com is the origin on loopback."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.channels.origin import NAME, Origin, digest
from tests.channels.programs import PROGRAMS

NOWHERE = "http://127.0.0.1:9"  # what asks for another host, by a proxy, is refused at once


@dataclass(frozen=True)
class User:
    """`address` is the origin's on loopback, for programs that read no git settings."""

    home: Path
    project: Path
    origin: Origin
    address: str

    def run(self, *command: str | Path, **environment: str) -> str:
        """Run a command in the project, with stdin closed; its output, which must be a success."""
        done = subprocess.run(
            command,
            cwd=self.project,
            env=os.environ | self._environment() | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stdout)

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(PROGRAMS / "unpacked"),  # Copilot's is 190 MB a home
            "DISABLE_TELEMETRY": "1",
            "HTTP_PROXY": NOWHERE,
            "HTTPS_PROXY": NOWHERE,
            "NO_PROXY": "127.0.0.1",
        }


def make_user(folder: Path, origin: Origin, server: str) -> User:
    """Make the home and the project, of a user of Claude Code, below `folder`."""
    user = User(folder / "home", folder / "project", origin, f"{server}/{NAME}.git")
    user.home.mkdir()
    (user.project / ".claude").mkdir(parents=True)
    places = ("https://github.com/", "git@github.com:", "ssh://git@github.com/")
    lines = [f'[url "{server}/"]', *(f"insteadOf = {place}" for place in places)]
    (user.home / ".gitconfig").write_text("\n".join(lines), encoding="utf-8")
    return user


def content(folder: Path) -> dict[str, str]:
    """Each file's hash by its name below a folder, which may be a link."""
    return {
        path.relative_to(folder.resolve()).as_posix(): digest(path.read_bytes())
        for path in sorted(folder.resolve().rglob("*"))
        if path.is_file()
    }


def dead_links(folder: Path) -> list[str]:
    """The links of the SKILL.md there that lead nowhere."""
    text = (folder / "SKILL.md").read_text(encoding="utf-8")
    links: list[str] = re.findall(r"\]\((?!https://)([^)#]+)", text)
    return [link for link in links if not (folder / link).is_file()]
