"""Put new content in place of what a folder holds: all of it or nothing, and `.git` stays.

Standard library only, so that a release needs nothing but Python.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

GIT = ".git"  # of a repository, or of a worktree


def files_in(folder: Path) -> Iterator[Path]:
    """Every file and link below a folder, which may be missing, but for git's own."""
    for path in folder.rglob("*"):
        if path.relative_to(folder).parts[0] != GIT and (path.is_symlink() or not path.is_dir()):
            yield path


def replace(folder: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make the new content at a path of its own, then put it in place of the old.

    When anything fails, what was there is put back and the error goes on.
    """
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as name:
            spare = Path(name)
            write(spare / "new")
            _swap(folder, spare)
    except BaseException:
        if new:
            shutil.rmtree(folder)
        raise


def _swap(folder: Path, spare: Path) -> None:
    fresh, old = spare / "new", spare / "old"
    old.mkdir()
    present = [path for path in folder.iterdir() if path.name not in (GIT, spare.name)]
    moves = [(path, old / path.name) for path in present]
    moves += [(path, folder / path.name) for path in fresh.iterdir()]
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            source.rename(target)
            done.append((source, target))
    except BaseException:
        for source, target in reversed(done):
            target.rename(source)
        raise
