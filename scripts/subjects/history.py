"""How far back in the history of migrations a revision lies."""

import re
from pathlib import PurePosixPath
from weakref import WeakKeyDictionary

from project.module import Module
from project.names import Names

RECENT = 10  # revisions at the end of a history that may still have to run somewhere
_SAYS = re.compile(rb"^(down_)?revision\b[^=\n]*=\s*(\([^)]*\)|\[[^\]]*\]|[^\n#]*)", re.MULTILINE)
_QUOTED = re.compile(rb"""['"]([^'"\n]+)['"]""")
_ONLINE: WeakKeyDictionary[Names, dict[str, dict[str, bytes]]] = WeakKeyDictionary()
_KNOWN: WeakKeyDictionary[Names, dict[str, set[str]]] = WeakKeyDictionary()


def is_recent(module: Module) -> bool:
    """Whether fewer than RECENT revisions of the project build on this one, one after another.

    What more build on has run: its locks are over, and nobody will write it again.
    """
    folder = folder_of(module.path)
    known = _KNOWN.setdefault(module.project, {})
    if folder not in known:
        known[folder] = _recent(module.project, folder)
    return not known[folder] or module.path in known[folder]


def folder_of(path: str) -> str:
    """The folder of all revisions of a history: `versions`, or the one the file lies in."""
    for each in PurePosixPath(path).parents:
        if each.name == "versions":
            return each.as_posix()
    return PurePosixPath(path).parent.as_posix()


def is_rebuilt(module: Module, index: str) -> bool:
    """Whether another revision of the history names an index and builds or drops it online."""
    folder = folder_of(module.path)
    known = _ONLINE.setdefault(module.project, {})
    if folder not in known:
        known[folder] = {}
        for name, path in module.project.files.items():
            if PurePosixPath(name).is_relative_to(folder):
                try:
                    source = path.read_bytes()
                except OSError:
                    continue
                if b"concurrently" in source.lower():
                    known[folder][name] = source
    form = re.compile(rb"\b" + re.escape(index.encode()) + rb"\b")
    return any(form.search(source) for name, source in known[folder].items() if name != module.path)


def _recent(project: Names, folder: str) -> set[str]:
    """The files of the last revisions below a folder."""
    before: dict[str, set[str]] = {}
    files: dict[str, set[str]] = {}  # two databases may share an identifier
    for name, path in project.files.items():
        if not PurePosixPath(name).is_relative_to(folder):
            continue
        try:
            source = path.read_bytes()
        except OSError:
            continue
        said: dict[bool, set[str]] = {}
        for down, value in _SAYS.findall(source):
            said.setdefault(
                bool(down), {each.decode("utf-8", "replace") for each in _QUOTED.findall(value)}
            )
        for own in said.get(False, ()):
            before.setdefault(own, set()).update(said.get(True, ()))
            files.setdefault(own, set()).add(name)
    built_on = {each for earlier in before.values() for each in earlier}
    level, found = set(before) - built_on, set()
    for _ in range(RECENT):
        found |= level
        level = {each for own in level for each in before.get(own, ())} - found
    return {name for own in found for name in files.get(own, ())}
