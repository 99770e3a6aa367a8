"""What users get: one allow-list, from which everything that ships is built.

Standard library only, so that installing needs nothing but Python.
"""

import hashlib
import json
from pathlib import Path

NAME = "python-backend"
ALLOWED = (
    "SKILL.md",
    "LICENSE",
    "rules/*/*.md",
    "errors/*.md",
    "examples/**/*",
    "scripts/**/*.py",
    "scripts/linters*",
)
TEXT_SUFFIXES = {".md", ".py", ".toml", ".ini", ".mako", ".txt", ""}
# Most of it is scripts, which an agent runs and never loads: what it pays is in budget.py.
LIMIT_FILES = 220
LIMIT_BYTES = 1_500_000
# An installed skill is walked by the project's own ruff, which also formats Python in Markdown.
RUFF = '# Keeps your project\'s linter out of this skill.\nexclude = ["*"]\n'


class PayloadError(Exception):
    """The skill cannot be shipped as it stands; the message says why and what to do."""


def payload(root: Path) -> dict[str, bytes]:
    """Return the content of every file that ships, by its path inside the skill.

    Raises PayloadError for a link, a file that is not UTF-8 text, a missing MANIFEST.json, or a
    payload above the limits.
    """
    files: dict[str, bytes] = {}
    for pattern in ALLOWED:
        for path in sorted(root.glob(pattern)):
            name = path.relative_to(root).as_posix()
            if path.is_dir() or "__pycache__" in path.parts:
                continue
            if path.is_symlink():
                raise PayloadError(f"{name}: is a link; ship a real file")
            if path.suffix not in TEXT_SUFFIXES or path.name.startswith("."):
                raise PayloadError(f"{name}: is not something a skill ships; move it")
            files[name] = _text(path, name)
    if "SKILL.md" not in files:
        raise PayloadError(f"{root}: holds no SKILL.md; run this from the repository")
    files["ruff.toml"] = RUFF.encode()
    files["MANIFEST.json"] = _manifest(root, files)
    size = sum(map(len, files.values()))
    if len(files) > LIMIT_FILES or size > LIMIT_BYTES:
        limits = f"at most {LIMIT_FILES} files and {LIMIT_BYTES} bytes"
        raise PayloadError(f"payload of {len(files)} files and {size} bytes; ship {limits}")
    return dict(sorted(files.items()))


def write(files: dict[str, bytes], folder: Path) -> None:
    """Write a payload into a folder that does not exist yet."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _text(path: Path, name: str) -> bytes:
    content = path.read_bytes().replace(b"\r\n", b"\n")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PayloadError(f"{name}: is not UTF-8 text; save it as UTF-8") from error
    return content


def _manifest(root: Path, files: dict[str, bytes]) -> bytes:
    path = root / "MANIFEST.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PayloadError(f"MANIFEST.json: {error}; run `rulebook build`") from error
    hashes = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    return (json.dumps(manifest | {"files": hashes}, indent=2) + "\n").encode()
