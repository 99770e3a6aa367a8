"""Which files there are to read, and what is in them."""

import ast
import gc
import os
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"  # whose syntax can be read
LIMIT = 2_000_000  # bytes; what is larger was generated
USUAL = {
    "__pycache__",
    "build",
    "dist",
    "node_modules",
    "site-packages",
    "venv",
    "env",
}


class PathError(Exception):
    """A path that cannot be reviewed; the message says why."""


@dataclass(frozen=True, order=True)
class Unread:
    """A file that could not be read, and why."""

    path: str
    line: int
    message: str


def python_files(paths: Iterable[Path]) -> list[Path]:
    """List the Python files below the paths, each once.

    In a git checkout what git ignores is left out; elsewhere hidden folders and the usual folders
    of other people's code are. Raises PathError for a path that does not exist.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            for each in _tracked(path) or _walked(path):
                found[each] = None
        elif path.exists():
            found[path] = None
        else:
            raise PathError(f"{path}: no such file or folder")
    return list(found)


def project_folders(paths: Iterable[Path]) -> list[Path]:
    """List the folders of the projects the paths belong to, whose files define their names.

    That is the git checkout around a path, or else the current folder.
    """
    here = Path.cwd()
    tops: dict[Path, None] = {}
    for path in paths:
        folder = (path if path.is_dir() else path.parent).resolve()
        top = next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)
        if top is None:
            top = here if folder.is_relative_to(here) else folder
        tops[top] = None
    return [Path(os.path.relpath(top, here)) for top in tops]


def shown(path: Path) -> str:
    """A path as it is printed: relative to the current folder where it is inside, with `/`."""
    resolved, here = Path(os.path.abspath(path)), Path.cwd()
    return (resolved.relative_to(here) if resolved.is_relative_to(here) else resolved).as_posix()


def _tracked(folder: Path) -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.py"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    names = sorted(set(os.fsdecode(done.stdout).split("\0")) - {""})
    paths = [folder / name for name in names if not _hidden(name.split("/")[:-1])]
    return [path for path in paths if path.is_file()]


def _hidden(folders: Iterable[str]) -> bool:
    return any(
        name.startswith(".") or name in {"node_modules", "site-packages"} for name in folders
    )


def _walked(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not (name.startswith(".") or name in USUAL)
            and not Path(root, name, "pyvenv.cfg").exists()
        )
        yield from (Path(root, name) for name in sorted(names) if name.endswith(".py"))


def parse(path: Path, name: str, source: bytes | None = None) -> tuple[bytes, ast.Module] | Unread:
    """Read and parse a file, or its source; what prevents it comes back as an Unread."""
    try:
        if path.stat().st_size > LIMIT:
            return Unread(name, 1, f"larger than {LIMIT // 1_000_000} MB, taken for generated code")
        source = path.read_bytes() if source is None else source
        if path.suffix == ".ipynb":
            return Unread(name, 1, "a notebook, not Python source")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the user's escapes, on our stderr
            return source, ast.parse(source)
    except SyntaxError as error:
        return Unread(name, error.lineno or 1, f"not Python {VERSION}: {error.msg}")
    except OSError as error:
        return Unread(name, 1, f"cannot be read: {error.strerror}")
    except (RecursionError, MemoryError):
        return Unread(name, 1, "nested too deeply to be parsed")
    except ValueError as error:  # null bytes, undecodable text, a number of 5,000 digits
        return Unread(name, 1, f"not Python {VERSION}: {error}")


@contextmanager
def no_collector() -> Iterator[None]:
    """Hold Python's garbage collector off: it doubles the time that trees take, and frees none."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
