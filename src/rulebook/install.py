"""Put the payload into a project's skill folders, all of it or nothing. Standard library only."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rulebook.payload import NAME, write

FOLDERS = {"agents": Path(".agents/skills"), "claude": Path(".claude/skills")}


class InstallError(Exception):
    """Something in the project is in the way; the message names it and says what to do."""


@dataclass(frozen=True)
class Outcome:
    """What was done to one folder: installed, updated, unchanged, removed or absent."""

    path: Path
    action: str


def targets(project: Path, agents: list[str]) -> list[Path]:
    """The skill's folder for each agent, without those that are the same folder by a link."""
    paths: dict[Path, Path] = {}
    for agent in agents:
        parent = project / FOLDERS[agent]
        paths.setdefault(parent.resolve(), parent / NAME)
    return list(paths.values())


def install(files: dict[str, bytes], paths: list[Path], *, force: bool = False) -> list[Outcome]:
    """Write the payload to each path as a real copy; raises InstallError before touching anything.

    A folder of ours that nobody edited is replaced; any other is refused unless `force`. When
    writing fails, everything is put back as it was and the OSError goes on.
    """
    outcomes = []
    for path in paths:
        present = path.is_symlink() or path.exists()
        if present and not path.is_symlink() and _content(path) == files:
            outcomes.append(Outcome(path, "unchanged"))
            continue
        if present and not force:
            _refuse_foreign(path)
        outcomes.append(Outcome(path, "updated" if present else "installed"))
    with ExitStack() as undo:
        for outcome in outcomes:
            if outcome.action != "unchanged":
                undo.enter_context(_replaced(outcome.path, files))
    return outcomes


def uninstall(paths: list[Path], *, force: bool = False) -> list[Outcome]:
    """Remove the skill from each path; raises InstallError before touching anything."""
    present = [path for path in paths if path.is_symlink() or path.exists()]
    for path in present:
        if not force:
            _refuse_foreign(path)
    with ExitStack() as undo:
        for path in present:
            undo.enter_context(_replaced(path, {}))
    for path in present:
        _remove_empty(path.parent)
        _remove_empty(path.parent.parent)
    return [Outcome(path, "removed" if path in present else "absent") for path in paths]


@contextmanager
def _replaced(path: Path, files: dict[str, bytes]) -> Iterator[None]:
    """Put `files` in place of `path`; put back what was there when the block fails."""
    made = _make_parents(path.parent)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{NAME}-", dir=path.parent) as name:
            stage, old = Path(name, "new"), Path(name, "old")
            if files:
                write(files, stage)
            present = path.is_symlink() or path.exists()
            if present:
                path.rename(old)
            try:
                if files:
                    stage.rename(path)
                yield
            except BaseException:
                if files and path.exists():
                    shutil.rmtree(path)
                if present:
                    old.rename(path)
                raise
    except BaseException:
        for folder in made:
            _remove_empty(folder)
        raise


def _make_parents(folder: Path) -> list[Path]:
    """Create a folder; return the ones that were missing, deepest first."""
    missing = [each for each in [folder, *folder.parents] if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()


def _refuse_foreign(path: Path) -> None:
    advice = "move it away, or repeat with --force"
    if path.is_symlink():
        raise InstallError(f"{path}: is a link, not a copy made by this command; {advice}")
    if not path.is_dir():
        raise InstallError(f"{path}: is not a folder; {advice}")
    try:
        manifest = json.loads((path / "MANIFEST.json").read_text(encoding="utf-8"))
        ours = manifest["name"] == NAME
        hashes = dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        ours, hashes = False, {}
    if not ours:
        raise InstallError(f"{path}: was not put there by this command; {advice}")
    content = _content(path)
    content.pop("MANIFEST.json")
    found = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    changed = sorted({name for name, _ in found.items() ^ hashes.items()})
    if changed:
        raise InstallError(f"{path / changed[0]}: was edited after it was installed; {advice}")


def _content(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        return {}
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
