"""Put the payload into a project's skill folders, all of it or nothing. Standard library only."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rulebook.agents_md import Change, changed, plan
from rulebook.payload import NAME, write

FOLDERS = {"agents": Path(".agents/skills"), "claude": Path(".claude/skills")}


class InstallError(Exception):
    """Something in the project is in the way; the message names it and says what to do."""


@dataclass(frozen=True)
class Outcome:
    """What was done to a folder or a file: created, installed, updated, unchanged, removed, absent.

    Every folder that was made or removed on the way has one of its own.
    """

    path: Path
    action: str


def clone(project: Path) -> Path | None:
    """The repository of the skill itself that a folder is in, or is."""
    folders = [project, *project.parents]
    signs = "SKILL.md", "src/rulebook/install.py"
    return next((each for each in folders if all((each / sign).is_file() for sign in signs)), None)


def targets(project: Path, agents: list[str]) -> list[Path]:
    """The skill's folder for each agent, without those that are the same folder by a link."""
    paths: dict[Path, Path] = {}
    for agent in agents:
        parent = project / FOLDERS[agent]
        paths.setdefault(parent.resolve(), parent / NAME)
    return list(paths.values())


def install(
    files: dict[str, bytes],
    project: Path,
    agents: list[str],
    *,
    agents_md: bool = False,
    force: bool = False,
) -> list[Outcome]:
    """Write the payload for each agent as a real copy, and with `agents_md` a block about it.

    A folder of ours that nobody edited is replaced; any other is refused unless `force`: it
    raises InstallError or AgentsMdError before touching anything. When writing fails, everything
    is put back as it was and the OSError goes on.
    """
    made: dict[Path, Outcome] = {}
    outcomes = []
    for path in targets(project, agents):
        present = path.is_symlink() or path.exists()
        if present and not path.is_symlink() and _content(path) == files:
            outcomes.append(Outcome(path, "unchanged"))
            continue
        if present and not force:
            _refuse_foreign(path)
        made |= {each: Outcome(each, "created") for each in reversed(_missing(path.parent))}
        outcomes.append(Outcome(path, "updated" if present else "installed"))
    kept = [each.path for each in outcomes]
    change = plan(project, _named(project, kept, []), wanted=agents_md, force=force)
    with ExitStack() as undo:
        for outcome in outcomes:
            if outcome.action != "unchanged":
                undo.enter_context(_replaced(outcome.path, files))
        if change:
            undo.enter_context(changed(change))
    return [*made.values(), *outcomes, *_told(change)]


def uninstall(project: Path, agents: list[str], *, force: bool = False) -> list[Outcome]:
    """Remove the skill for each agent, and the block in AGENTS.md with the last copy.

    Raises InstallError or AgentsMdError before touching anything.
    """
    paths = targets(project, agents)
    present = [path for path in paths if path.is_symlink() or path.exists()]
    for path in present:
        if not force:
            _refuse_foreign(path)
    change = plan(project, _named(project, [], paths), wanted=False, force=force)
    with ExitStack() as undo:
        for path in present:
            undo.enter_context(_replaced(path, {}))
        if change:
            undo.enter_context(changed(change))
    outcomes = [Outcome(path, "removed" if path in present else "absent") for path in paths]
    emptied = [each for path in present for each in (path.parent, path.parent.parent)]
    outcomes += [Outcome(folder, "removed") for folder in emptied if _remove_empty(folder)]
    return outcomes + _told(change)


def _named(project: Path, kept: list[Path], gone: list[Path]) -> str | None:
    """The folder that the block in AGENTS.md names: the first that holds the skill afterwards."""
    left = [path.parent.resolve() for path in gone]
    for parent in FOLDERS.values():
        path = project / parent / NAME
        holds = (path / "SKILL.md").is_file() and path.parent.resolve() not in left
        if path in kept or holds:
            return (parent / NAME).as_posix()
    return None


def _told(change: Change | None) -> list[Outcome]:
    return [Outcome(change.path, change.action)] if change else []


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
    missing = _missing(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _missing(folder: Path) -> list[Path]:
    """Those of a folder and its parents that are not there, deepest first."""
    missing = []
    for each in [folder, *folder.parents]:
        if each.is_dir():
            break
        if each.is_symlink() or each.exists():
            raise InstallError(f"{each}: is not a folder; move it away")
        missing.append(each)
    return missing


def _remove_empty(folder: Path) -> bool:
    """Remove a folder if nothing is in it; say whether it was."""
    if not folder.is_dir() or folder.is_symlink() or any(folder.iterdir()):
        return False
    folder.rmdir()
    return True


def _refuse_foreign(path: Path) -> None:
    advice = "move it away, or repeat with --force"
    if path.is_symlink():
        raise InstallError(
            f"{path}: is a link, as the skills CLI makes it; update by that, or {advice}"
        )
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
