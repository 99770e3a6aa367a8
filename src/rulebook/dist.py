"""The dist tree: what the branch that users install from holds, and nothing else.

Standard library only, so that a release needs nothing but Python.
"""

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

from rulebook.folder import files_in, replace
from rulebook.payload import NAME, payload, write
from rulebook.versions import project_version

SUMMARY = "Proven rules for async Python backends"
AUTHOR = {"name": "The python-backend authors"}
OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
SKILL = f"skills/{NAME}"
MARKETPLACE = ".claude-plugin/marketplace.json"
HOOKS = ".pre-commit-hooks.yaml"
HOOK = "scripts/review.py"  # pre-commit starts the file itself
ANY = "*"  # in place of a hash
README = Path(__file__).with_name("dist.md")


class DistError(Exception):
    """The folder is not ours to write; the message names it and says what to do."""


def tree(root: Path, owner: str) -> dict[str, bytes]:
    """Return the content of every file of the dist tree, by its path; raises PayloadError."""
    files = payload(root)
    version = project_version(root)
    market = marketplace({"source": f"./{SKILL}", "strict": False, "version": version})
    beside = {
        "LICENSE": files["LICENSE"],
        "README.md": readme(owner).encode(),
        MARKETPLACE: (json.dumps(market, indent=2) + "\n").encode(),
        HOOKS: (root / HOOKS).read_bytes().replace(HOOK.encode(), f"{SKILL}/{HOOK}".encode()),
    }
    return beside | {f"{SKILL}/{name}": data for name, data in files.items()}


def project_owner(root: Path) -> str:
    """Who the repository belongs to, by its address in pyproject.toml; OWNER until published."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address: str = project.get("urls", {}).get("Repository", f"OWNER/{NAME}")
    return address.rstrip("/").split("/")[-2]


def readme(owner: str) -> str:
    """What a user reads on the branch: what it is, a line a channel, where the docs are."""
    return README.read_text(encoding="utf-8").replace("OWNER", owner)


def marketplace(entry: dict[str, Any]) -> dict[str, Any]:
    """The marketplace that Claude Code, Codex and Copilot read, with one plugin."""
    about = {"name": NAME, "description": SUMMARY}
    return about | {"owner": AUTHOR, "plugins": [about | {"author": AUTHOR} | entry]}


def ship(files: dict[str, bytes], folder: Path) -> None:
    """Write a tree into a folder that is new, empty, or holds an earlier tree, which goes.

    `.git` stays, so the folder may be a worktree. Raises DistError before touching anything;
    when writing fails, what was there is put back and the OSError goes on.
    """
    if folder.exists() and not folder.is_dir():
        raise DistError(f"{folder}: is not a folder; choose another")
    _refuse_foreign(folder)
    replace(folder, lambda fresh: _write(files, fresh))


def _write(files: dict[str, bytes], folder: Path) -> None:
    write(files, folder)
    if HOOKS in files:
        (folder / SKILL / HOOK).chmod(0o755)


def _refuse_foreign(folder: Path) -> None:
    """Raise DistError for what this command did not write, or somebody changed since."""
    hashes = _hashes(folder / SKILL)
    for path in files_in(folder):
        if "__pycache__" in path.parts:
            continue
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or name not in hashes:
            raise DistError(f"{path}: was not put there by this command; choose another folder")
        content = path.read_bytes().replace(b"\r\n", b"\n")
        if hashes[name] not in (ANY, hashlib.sha256(content).hexdigest()):
            raise DistError(f"{path}: was edited; move the folder away, then repeat")


def _hashes(skill: Path) -> dict[str, str]:
    """What an earlier tree holds, by its manifest; nothing if there is none that says so."""
    try:
        manifest = json.loads((skill / "MANIFEST.json").read_text(encoding="utf-8"))
        hashes = dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    unhashed = ("LICENSE", "README.md", MARKETPLACE, HOOKS, f"{SKILL}/MANIFEST.json")
    return {f"{SKILL}/{name}": each for name, each in hashes.items()} | dict.fromkeys(unhashed, ANY)
