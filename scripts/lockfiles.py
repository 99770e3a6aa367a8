"""Read what a project's lock file, or failing that its declarations, says is installed.

Nothing of the project is imported or run, and nothing outside the named files is looked at.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from requirements import Pin, Unreadable, name_of, read_requirements, requirement, text_of

LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml")
WHY = {
    "lock": "a lock file says what is installed",
    "requirements.txt": "it comes before other lists and declarations",
    "requirements": "requirements come before declarations",
    "pyproject.toml": "there is no lock file and no requirements.txt here",
}
ELSEWHERE = ("git", "vcs", "path", "url", "file", "directory", "archive", "editable", "virtual")
STRING = r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\''
SKIPPED = {"node_modules", "site-packages", "__pycache__", "build", "dist"}


@dataclass
class Reading:
    """What was read, where and why; `complete` when it lists what its packages need too."""

    files: list[Path]
    pins: list[Pin] = field(default_factory=list)
    python: Pin | None = None
    complete: bool = False
    why: str = ""
    left: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(path: Path) -> Reading:
    """Read a project's folder, or one file of it.

    Raises Unreadable, whose text names the file and where possible the line, when there is
    nothing to read or it is malformed.
    """
    if path.is_file():
        reading = _file(path)
    elif path.is_dir():
        reading = _folder(path)
    else:
        raise Unreadable(f"{path}: there is no such file or folder")
    reading.python = _python(reading, path if path.is_dir() else path.parent)
    return reading


def _folder(folder: Path) -> Reading:
    locks = [folder / name for name in LOCKS if (folder / name).is_file()]
    locks += sorted(each for each in folder.glob("pylock.?*.toml") if each.is_file())
    lists = sorted(each for each in folder.glob("requirements*.txt") if each.is_file())
    main = [each for each in lists if each.name == "requirements.txt"]
    project = [each for each in [folder / "pyproject.toml"] if each.is_file()]
    found = locks + main + [each for each in lists if each not in main] + project
    if not found:
        raise Unreadable(f"{folder}: nothing to read here; {_below(folder)}")
    together = lists if lists and not locks and not main else found[:1]
    readings = [_file(each) for each in together]
    merged = readings[0]
    for each in readings[1:]:
        merged.files += [file for file in each.files if file not in merged.files]
        merged.pins += each.pins
        merged.notes += each.notes
    kind = "lock" if locks else found[0].name
    merged.why = WHY.get(kind, WHY["requirements"])
    merged.left = [each for each in found if each not in merged.files]
    return merged


def _below(folder: Path) -> str:
    """Which subfolders have a lock file: to be named, never read unasked."""
    inner: dict[str, str] = {}
    for pattern in ("*", "*/*"):
        for name in (*LOCKS, "requirements.txt", "pyproject.toml"):
            for each in sorted(folder.glob(f"{pattern}/{name}")):
                place = each.parent.relative_to(folder)
                if not any(part.startswith(".") or part in SKIPPED for part in place.parts):
                    inner.setdefault(str(folder / place), name)
    named = [f"{place} ({name})" for place, name in list(inner.items())[:8]]
    return f"give one of these as PATH: {', '.join(named)}" if named else "give a PATH"


def _file(path: Path) -> Reading:
    name = path.name
    if name == "Pipfile.lock":
        return _pipfile(path)
    if name == "pyproject.toml":
        return _pyproject(path)
    if name in LOCKS or re.fullmatch(r"pylock\.[^.]+\.toml", name):
        return _toml_lock(path)
    if path.suffix in (".txt", ".in"):
        pins, files = read_requirements(path)
        return Reading(files, pins)
    known = ", ".join((*LOCKS, "pyproject.toml"))
    raise Unreadable(f"{path}: is none of {known}, and no requirements file (.txt)")


def load(path: Path) -> dict[str, Any]:
    """Parse a TOML or JSON file. Raises Unreadable with the line that is wrong."""
    text = text_of(path)
    try:
        data = json.loads(text) if path.name == "Pipfile.lock" else _toml(text)
    except (ValueError, RecursionError) as error:
        said = str(error) or type(error).__name__
        line = re.search(r"line (\d+)", said)
        number = int(line[1]) if line else max(len(text.splitlines()), 1) if "end of" in said else 1
        raise Unreadable(f"{path}:{number}: {said.splitlines()[0][:200]}") from error
    if not isinstance(data, dict):
        raise Unreadable(f"{path}:1: is not a table of names and values")
    return data


def _toml(text: str) -> dict[str, Any]:
    """Parse TOML, also with inline tables over several lines as formatters of TOML 1.1 write."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        depth = 0

        def joined(match: re.Match[str]) -> str:
            nonlocal depth
            depth += {"{": 1, "}": -1}.get(match[0], 0)
            return " " if depth > 0 and match[0][0] in "\n#" else match[0]

        flat = re.sub(rf"{STRING}|#[^\n]*|[{{}}]|\n", joined, text, flags=re.DOTALL)
        flat = re.sub(
            rf"({STRING})|,(?=\s*\}})", lambda match: match[1] or "", flat, flags=re.DOTALL
        )
        with suppress(tomllib.TOMLDecodeError):
            return tomllib.loads(flat)
        raise


def _toml_lock(path: Path) -> Reading:
    """uv.lock, poetry.lock, pdm.lock and pylock.toml: a list of tables, a package each."""
    data = load(path)
    listed = data.get("packages" if path.name.startswith("pylock.") else "package")
    if not isinstance(listed, list):
        end = max(len(text_of(path).splitlines()), 1)
        raise Unreadable(f"{path}:{end}: lists no packages; is it cut off?")
    reading = Reading([path], complete=True)
    for entry in map(table, listed):
        if name := name_of(entry.get("name")):
            version = entry.get("version")
            version = version if isinstance(version, str) else None
            reading.pins.append(Pin(name, version, source=_source(entry)))
    metadata = table(data.get("metadata"))
    targets = metadata.get("targets")
    first = table(targets[0]) if isinstance(targets, list) and targets else {}
    said = (data.get("requires-python"), metadata.get("python-versions"))
    reading.python = _declared(*said, first.get("requires_python"))
    return reading


def _source(entry: dict[str, Any]) -> str:
    """Where a package comes from, if not from an index: git, path, url and the like."""
    source = table(entry.get("source"))
    kind = source.get("type")
    if isinstance(kind, str):  # Poetry names the kind; "legacy" is an index
        return kind if kind in ELSEWHERE else ""
    return next((each for each in ELSEWHERE if source.get(each) or entry.get(each)), "")


def _pipfile(path: Path) -> Reading:
    data = load(path)
    if not any(isinstance(data.get(each), dict) for each in ("default", "develop")):
        raise Unreadable(f"{path}:1: lists no packages")
    reading = Reading([path], complete=True)
    for section in ("default", "develop"):
        for key, value in table(data.get(section)).items():
            entry = {"version": value} if isinstance(value, str) else table(value)
            said, name = entry.get("version"), name_of(key)
            if name:
                version = said.removeprefix("==") if isinstance(said, str) else None
                reading.pins.append(Pin(name, version, source=_source(entry)))
    requires = table(table(data.get("_meta")).get("requires"))
    version = requires.get("python_full_version") or requires.get("python_version")
    reading.python = Pin("python", version) if isinstance(version, str) else None
    return reading


def _pyproject(path: Path) -> Reading:
    data = load(path)
    reading = Reading([path], python=_required_python(data))
    sources = table(table(table(data.get("tool")).get("uv")).get("sources"))
    elsewhere = {name_of(key): _source(table(value)) for key, value in sources.items()}
    for text in _declarations(data):
        if pin := requirement(text):
            pin.source = pin.source or elsewhere.get(pin.name, "")
            reading.pins.append(pin)
    for key, value in _poetry_tables(data):
        entry = table(value)
        spec, name = entry.get("version") if entry else value, name_of(key)
        if name and name != "python":
            exact = (
                re.fullmatch(r"(?:==)?\s*(\d[\w.+!-]*)", spec) if isinstance(spec, str) else None
            )
            declared = "" if exact or not isinstance(spec, str) else spec
            reading.pins.append(Pin(name, exact[1] if exact else None, declared, _source(entry)))
    return reading


def _declarations(data: dict[str, Any]) -> Iterator[str]:
    """The requirements of a pyproject.toml that are written as texts."""
    project, tools = table(data.get("project")), table(data.get("tool"))
    lists = [project.get("dependencies"), table(tools.get("uv")).get("dev-dependencies")]
    for named in (
        project.get("optional-dependencies"),
        data.get("dependency-groups"),
        table(tools.get("pdm")).get("dev-dependencies"),
    ):
        lists += table(named).values()
    for each in lists:
        if isinstance(each, list):
            yield from (text for text in each if isinstance(text, str))


def _poetry_tables(data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    poetry = table(table(data.get("tool")).get("poetry"))
    groups = [table(each) for each in table(poetry.get("group")).values()]
    for each in (poetry.get("dependencies"), poetry.get("dev-dependencies")):
        yield from table(each).items()
    for group in groups:
        yield from table(group.get("dependencies")).items()


def _required_python(data: dict[str, Any]) -> Pin | None:
    poetry = table(table(data.get("tool")).get("poetry"))
    required = table(data.get("project")).get("requires-python")
    return _declared(required, table(poetry.get("dependencies")).get("python"))


def _declared(*said: Any) -> Pin | None:
    """The first range that is said, as what Python is declared to be."""
    ranges = [each for each in said if isinstance(each, str) and each]
    return Pin("python", None, ranges[0]) if ranges else None


def _python(reading: Reading, folder: Path) -> Pin | None:
    """Which Python: the pinned one, the lock file's, or what pyproject.toml declares."""
    pinned = folder / ".python-version"
    if pinned.is_file():
        match = re.search(r"(?m)^\s*(?:cpython-|python-?)?(\d+\.\d+(?:\.\d+)?)\b", text_of(pinned))
        if match:
            return Pin("python", match[1])
    project = folder / "pyproject.toml"
    if reading.python or not project.is_file():
        return reading.python
    try:
        return _required_python(load(project))
    except Unreadable as error:
        reading.notes.append(f"what Python it requires is not known: {error}")
        return None


def table(value: Any) -> dict[str, Any]:
    """The value if it is a table; an empty one otherwise."""
    return value if isinstance(value, dict) else {}
