"""Which lines of which files changed since a commit, by git."""

import re
import subprocess
from pathlib import Path

HUNK = re.compile(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@")


class ChangesError(Exception):
    """git is missing, this is no checkout, or it knows no such commit; the message says which."""


def changed(base: str, folder: Path) -> dict[Path, list[range]]:
    """The lines that differ from `base` in the work tree; all lines of files git does not know.

    Keys are absolute paths. Raises ChangesError.
    """
    top = Path(_git(folder, "rev-parse", "--show-toplevel").strip())
    base = _git(top, "rev-parse", "--verify", "--end-of-options", f"{base}^{{commit}}").strip()
    text = _git(
        top, "-c", "core.quotePath=false", "diff", "--no-color", "--no-ext-diff", "--unified=0",
        "--src-prefix=a/", "--dst-prefix=b/", base, "--", "*.py",
    )  # fmt: skip
    found: dict[Path, list[range]] = {}
    path = None
    for line in text.split("\n"):
        if line.startswith("+++ "):
            name = line[4:].rstrip("\t")
            path = None if name == "/dev/null" else (top / name.removeprefix("b/")).resolve()
        elif path is not None and (match := HUNK.match(line)):
            start, count = int(match[1]), int(match[2] or 1)
            found.setdefault(path, []).append(range(start, start + count))
    untracked = _git(top, "ls-files", "-z", "--others", "--exclude-standard", "--", "*.py")
    for name in filter(None, untracked.split("\0")):
        found[(top / name).resolve()] = [range(1, 1 << 40)]
    return found


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise ChangesError(f"--diff needs git, which cannot be run: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().split("\n")[0]
        raise ChangesError(f"--diff needs a git checkout and a commit it knows: {said}")
    return done.stdout.decode("utf-8", "surrogateescape")
