"""The repository as its users reach it: over git, with a branch main and a branch dist."""

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from rulebook.dist import project_owner
from tests.harness import ROOT

OWNER = project_owner(ROOT)
NAME = f"{OWNER}/python-backend"
SKILL = "skills/python-backend"
RULE = "rules/asyncio/taskgroup.md"
# Neither the developer's own git settings nor a hook that runs us have a say.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "A Tester",
    "GIT_AUTHOR_EMAIL": "tester@example.org",
    "GIT_COMMITTER_NAME": "A Tester",
    "GIT_COMMITTER_EMAIL": "tester@example.org",
}


@dataclass(frozen=True)
class Origin:
    """`bare` is what is served, `clone` where its maintainers work."""

    bare: Path
    clone: Path

    def touch_tests(self) -> None:
        """Push a commit to main that changes nothing that ships."""
        with (self.clone / "tests" / "conftest.py").open("a", encoding="utf-8") as file:
            file.write("# changed\n")
        git(self.clone, "commit", "-q", "-am", "Change a test")
        git(self.clone, "push", "-q", "origin", "main")

    def release(self, version: str) -> None:
        """Change a rule and publish that as a version."""
        with (self.clone / RULE).open("a", encoding="utf-8") as file:
            file.write(f"\nThis is {version}.\n")
        project = self.clone / "pyproject.toml"
        text = project.read_text(encoding="utf-8")
        old = next(line for line in text.splitlines() if line.startswith("version = "))
        project.write_text(text.replace(old, f'version = "{version}"'), encoding="utf-8")
        git(self.clone, "commit", "-q", "-am", f"Release {version}")
        self.publish(version)

    def publish(self, version: str) -> None:
        """Put what ships on the branch dist, by the command that the release workflow runs."""
        run(self.clone, self.clone / ".ci" / "dist", f"v{version}")
        git(self.clone, "push", "-q", "origin", "main", "dist", "--tags")

    def shipped(self) -> dict[str, str]:
        """The payload on the branch dist: each file's hash by its name."""
        packed = run(self.bare, "git", "archive", "--format=tar", f"dist:{SKILL}")
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            files = [each for each in archive if each.isfile()]
            return {each.name: digest(archive.extractfile(each).read()) for each in files}  # type: ignore[union-attr]


def make_origin(folder: Path, head: str) -> Origin:
    """Make it below `folder` from the files that git tracks here, with `head` as its default."""
    origin = Origin(folder / "served" / f"{NAME}.git", folder / "clone")
    origin.bare.mkdir(parents=True)
    git(origin.bare, "init", "-q", "--bare", "-b", head)
    git(folder, "init", "-q", "-b", "main", "clone")
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (origin.clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, origin.clone / name)
    git(origin.clone, "add", "--all")
    git(origin.clone, "commit", "-q", "-m", "Begin")
    git(origin.clone, "remote", "add", "origin", str(origin.bare))
    origin.publish("0.1.0")
    return origin


def git(folder: Path, *arguments: str) -> str:
    """Run git there and return what it prints."""
    return run(folder, "git", *arguments).decode()


def run(folder: Path, *command: str | Path) -> bytes:
    """Run a command there and return what it prints; RuntimeError with its words if it fails."""
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True
    )
    if done.returncode:
        raise RuntimeError(f"{command}: {(done.stdout + done.stderr).decode()}")
    return done.stdout


def digest(data: bytes) -> str:
    """A hash, short enough to be read in a failure."""
    return hashlib.sha256(data).hexdigest()[:12]
