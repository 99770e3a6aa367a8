#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Are the rules proven on the versions this project locks, and what else bites there?

Reads uv.lock, poetry.lock, pdm.lock, Pipfile.lock, pylock.toml, requirements*.txt or
pyproject.toml: the first that the folder has, or the file given. Each package the rules speak
about is *proven* (the very version the examples were run on), *supported* (from the lowest
version the rules allow up to that one; both ends were run), *newer than proven*, *below the
floor*, or *unknown* (a range, a source other than an index, or no run to compare with).
Then come the traps that bite on these versions: first those that an upgrade ends.

Exit status: 0 nothing is below the floor, 1 something is, 2 misuse or a malformed file.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the skill's folder stays as it was installed

from lockfiles import Reading, read, table  # noqa: E402
from requirements import Pin, Unreadable  # noqa: E402
from version_facts import FACTS, PYTHONS, Fact, lowest_python, older, version_key  # noqa: E402

MANIFEST = Path(__file__).resolve().parent.parent / "MANIFEST.json"
BELOW, UNKNOWN, NEWER = "below the floor", "unknown", "newer than proven"
SUPPORTED, PROVEN = "supported", "proven"
WORST_FIRST = (BELOW, UNKNOWN, NEWER, SUPPORTED, PROVEN)
SOURCES = "comes from a {}, not from an index, so its version tells nothing"


@dataclass(frozen=True)
class Known:
    """What MANIFEST.json says: the lowest version allowed, and the one that was run, by package."""

    floors: dict[str, str]
    proven: dict[str, str]


@dataclass
class Package:
    """One of our packages in the project: every version locked, the worst status of them."""

    name: str
    status: str
    versions: list[str] = field(default_factory=list)
    declared: str = ""
    floor: str = ""
    proven: str = ""
    note: str = ""


@dataclass(frozen=True)
class Trap:
    """A fact that is true here; `newest` when it is true of the version that was run as well."""

    trap: str
    because: str
    newest: bool
    test: str


def read_manifest(path: Path) -> Known:
    """Read what was proven. Raises Unreadable when the skill's manifest does not say it."""
    try:
        data = table(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise Unreadable(f"{path}: {error}; install the whole skill") from error
    floors, proven = (
        {name: each.removeprefix(">=") for name, each in table(data.get(key)).items()}
        for key in ("floors", "verified")
    )
    for key, found in (("floors", floors), ("verified", proven)):
        if not found:
            raise Unreadable(f'{path}: has no "{key}", which this script compares with; reinstall')
    return Known(floors, proven)


def judge(version: str, floor: str, proven: str) -> str:
    """The status of one version, given the lowest allowed and the one run, either may be empty."""
    if older(version, floor):
        return BELOW
    if not version_key(version) or not proven or (older(version, proven) and not floor):
        return UNKNOWN
    if older(version, proven):
        return SUPPORTED
    return NEWER if older(proven, version) else PROVEN


def judge_python(version: str, floor: str) -> str:
    """The status of a Python: the feature release decides, and several are proven."""
    feature = ".".join(version.split(".")[:2])
    if feature in PYTHONS:
        return PROVEN
    return judge(feature, floor, PYTHONS[-1])


def packages(reading: Reading, known: Known) -> list[Package]:
    """Those of the project's packages that the rules speak about, and its Python."""
    found: dict[str, list[Pin]] = {}
    for pin in reading.pins:
        if pin.name in (known.floors.keys() | known.proven.keys()) - {"python"}:
            found.setdefault(pin.name, []).append(pin)
    judged = [_package(name, found[name], known) for name in sorted(found)]
    if reading.python:
        judged.append(_python(reading.python, known.floors.get("python", "")))
    return judged


def _package(name: str, pins: list[Pin], known: Known) -> Package:
    floor, proven = known.floors.get(name, ""), known.proven.get(name, "")
    package = Package(name, PROVEN, floor=floor, proven=proven)
    statuses = []
    for pin in pins:
        if pin.source:
            statuses.append(UNKNOWN)
            package.note = SOURCES.format(pin.source)
        elif pin.version:
            statuses.append(judge(pin.version, floor, proven))
            if pin.version not in package.versions:
                package.versions.append(pin.version)
        else:
            package.declared = package.declared or pin.declared or "any version"
            statuses.append(UNKNOWN)
    if package.versions and not package.note:
        # A bare name or a range beside a pin, as in a group of its own, is that pin.
        statuses = [judge(each, floor, proven) for each in package.versions]
    package.versions.sort(key=lambda each: (version_key(each) or (), each))
    package.status = min(statuses, key=WORST_FIRST.index)
    if package.status == UNKNOWN and not package.note:
        package.note = _why_unknown(package)
    return package


def _why_unknown(package: Package) -> str:
    if not package.versions:
        return "is declared, not locked"
    if any(version_key(each) is None for each in package.versions):
        return "is no version that can be compared"
    return "is older than what was run" if package.proven else "no run of it is on record"


def _python(pin: Pin, floor: str) -> Package:
    package = Package("python", UNKNOWN, floor=floor, proven=f"{PYTHONS[0]} to {PYTHONS[-1]}")
    if pin.version:
        package.versions = [pin.version]
        package.status = judge_python(pin.version, floor)
        return package
    package.declared = pin.declared
    lowest = lowest_python(pin.declared)
    package.note = f"is declared; the lowest allowed is {lowest}" if lowest else "is declared"
    if lowest and judge_python(lowest, floor) == BELOW:
        package.note += ", which is below the floor"
    return package


def traps(
    reading: Reading, judged: list[Package], known: Known, facts: Sequence[Fact] = FACTS
) -> tuple[list[Trap], list[Trap]]:
    """The facts that are true here, and those that will be on the version that was run.

    What is true of the proven version is on the rules' pages, and is not repeated for it.
    """
    locked = {pin.name for pin in reading.pins}
    installed = _installed(reading, judged)
    here, ahead = [], []
    for fact in facts:
        versions = installed.get(fact.package, {})
        absent = fact.without not in locked and reading.complete
        if (fact.beside and locked.isdisjoint(fact.beside)) or (fact.without and not absent):
            continue
        run = PYTHONS[-1] if fact.package == "python" else known.proven.get(fact.package, "")
        biting = fact.bites(versions)
        newest = fact.of_the_lock or bool(fact.bites([run]))
        if newest and not fact.of_the_lock:
            if versions and not biting:
                ahead.append(_trap(fact, f"from {fact.versions[2:]}"))
            biting = [each for each in biting if older(each, run)]
        if biting:
            here.append(_trap(fact, ", ".join(versions[each] for each in biting), newest))
    return sorted(here, key=lambda each: each.newest), ahead


def _installed(reading: Reading, judged: list[Package]) -> dict[str, dict[str, str]]:
    """Per package its versions, each with how it is to be called."""
    installed: dict[str, dict[str, str]] = {}
    for pin in reading.pins:
        if pin.version and not pin.source:
            installed.setdefault(pin.name, {})[pin.version] = pin.version
    for package in judged:
        if package.name == "python":
            installed["python"] = {each: each for each in package.versions}
            if low := lowest_python(package.declared):
                installed["python"][low] = f"{low}, which is allowed"
    return installed


def _trap(fact: Fact, versions: str, newest: bool = True) -> Trap:
    return Trap(fact.trap, f"{fact.package} {versions}: {fact.because}", newest, fact.test)


def main(argv: Sequence[str] | None = None) -> int:
    """Read what the arguments name, print what is proven of it, return the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        known = read_manifest(MANIFEST)
        reading = read(Path(arguments.path))
    except (Unreadable, OSError) as error:
        print(_printable(f"versions.py: {error}"), file=sys.stderr)
        return 2
    judged = packages(reading, known)
    here, ahead = traps(reading, judged, known)
    if arguments.json:
        print(json.dumps(_plain(reading, judged, here, ahead)))
    else:
        print(_printable(_shown(reading, judged, here, ahead)))
    for note in reading.notes:
        print(_printable(f"versions.py: {note}"), file=sys.stderr)
    return 1 if any(each.status == BELOW for each in judged) else 0


def _printable(text: str) -> str:
    """A text without what a lock file could hide in it to steer a terminal."""
    return "".join(each if each.isprintable() or each == "\n" else "?" for each in text)


def _plain(
    reading: Reading, judged: list[Package], here: list[Trap], ahead: list[Trap]
) -> dict[str, Any]:
    listed = [
        vars(each)
        | {"installed": ", ".join(each.versions) or None, "declared": each.declared or None}
        for each in judged
    ]
    return {
        "files": [str(each) for each in reading.files],
        "why": reading.why,
        "not read": [str(each) for each in reading.left],
        "packages": listed,
        "traps": [vars(each) for each in here],
        "ahead": [vars(each) for each in ahead],
    }


def _shown(reading: Reading, judged: list[Package], here: list[Trap], ahead: list[Trap]) -> str:
    said = f"Read {', '.join(map(str, reading.files))}"
    if reading.left:
        names = ", ".join(each.name for each in reading.left)
        said += f", not {names}: {reading.why}"
    lines = [f"{said}."]
    if all(each.name == "python" for each in judged):
        lines.append("None of the packages that the rules speak about is in it.")
    rows = [("package", "installed", "status", "floor", "run on", "")] if judged else []
    for each in judged:
        installed = ", ".join(each.versions) or each.declared
        rows.append(
            (each.name, installed, each.status, each.floor or "-", each.proven or "-", each.note)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    for heading, found in (
        ("Bites here, and no longer on the newest:", [each for each in here if not each.newest]),
        ("Bites here, and on the newest too:", [each for each in here if each.newest]),
        ("Comes with an upgrade:", ahead),
    ):
        lines += ["", heading] if found else []
        lines += [f"  {each.because}\n    {each.trap}" for each in found]
    if here or ahead:
        lines += ["", "A trap's page is rules/<category>/<rule>.md, or errors/<category>.md."]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Compare a project's locked versions with those the rules are proven on.",
        epilog="Exit status: 0 nothing is below the floor, 1 something is, 2 misuse.",
    )
    parser.add_argument(
        "path", nargs="?", default=".", metavar="PATH", help="a folder or one file; default: ."
    )
    parser.add_argument("--json", action="store_true", help="print packages and traps as JSON")
    return parser


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader such as `head` may leave
    sys.exit(main())
