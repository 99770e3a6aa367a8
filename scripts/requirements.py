"""Read requirements files as pip does: names, pins, files that include files."""

import codecs
import os
import re
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
REQUIREMENT = re.compile(
    rf"(?P<name>{NAME.pattern})\s*(?:\[[^\]]*\])?\s*"
    r"(?:@\s*(?P<url>\S+)|\(?(?P<spec>[^;()@]*)\)?)\s*(?:;.*)?"
)
CLAUSE = re.compile(r"(===|==|~=|!=|<=|>=|<|>)\s*([^\s,;=<>~]+)")
INCLUDE = re.compile(r"(?:-(?P<short>[rc])\s*=?|--(?P<long>requirement|constraint)[\s=])\s*(.+)")
EDITABLE = re.compile(r"(?:-e\s*=?|--editable[\s=])\s*(.+)")
WHEEL = re.compile(r"(?:.*/)?([A-Za-z0-9_.]+)-\d[^-/]*(?:-[^-/]+){3,4}\.whl(?:#.*)?")
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Unreadable(Exception):  # noqa: N818
    """A file cannot be read or is malformed; the text says which, where, and how."""


@dataclass
class Pin:
    """A package as a file has it: its version, or only a range, or a place it comes from."""

    name: str
    version: str | None
    declared: str = ""
    source: str = ""


def name_of(text: object) -> str:
    """A package's name as PEP 503 normalises it; empty for what cannot be one."""
    if not isinstance(text, str) or not NAME.fullmatch(text):
        return ""
    return re.sub(r"[-_.]+", "-", text).lower()


def text_of(path: Path) -> str:
    """The text of a file. Raises Unreadable when it cannot be read or is not UTF-8 or UTF-16."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error.strerror}") from error
    coding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(coding).replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Unreadable(f"{path}:{line}: is not {coding} text") from error


def requirement(text: str) -> Pin | None:
    """Read one requirement, such as `name[extra]==1.0; marker`; None where it is none."""
    match = REQUIREMENT.fullmatch(text.strip())
    if match is None:
        return None
    name = name_of(match["name"])
    if match["url"]:
        return Pin(name, None, source="url")
    spec = match["spec"].strip().strip(",")
    clauses = CLAUSE.findall(spec)
    if re.sub(r"[\s,]+", "", CLAUSE.sub("", spec)):
        return None
    exact = [version for sign, version in clauses if sign in ("==", "===") and "*" not in version]
    return Pin(name, exact[0] if exact else None, "" if exact else spec)


def read_requirements(path: Path) -> tuple[list[Pin], list[Path]]:
    """Read a requirements file and those it names; return what is required, and the files.

    A constraint pins what is required, and requires nothing. Raises Unreadable.
    """
    required: list[Pin] = []
    bounds: list[Pin] = []
    waiting, seen = [(path, False, "")], [(os.path.abspath(path), False)]
    files: list[Path] = []
    while waiting:
        file, constrains, named = waiting.pop(0)
        if named and not file.is_file():
            raise Unreadable(f"{named}: there is no file {file}")
        files.append(file)
        for number, line in _lines(text_of(file)):
            place = f"{file}:{number}"
            if include := INCLUDE.fullmatch(line):
                inner = include[3].strip().strip("\"'")
                strict = constrains or include["short"] == "c" or include["long"] == "constraint"
                key = os.path.abspath(file.parent / inner), strict
                if "://" not in inner and key not in seen:
                    seen.append(key)
                    waiting.append((file.parent / inner, strict, place))
            elif pin := _line(line, place):
                (bounds if constrains else required).append(pin)
    exact = {each.name: each.version for each in bounds if each.version}
    for each in required:
        if not each.version and not each.source and each.name in exact:
            each.version, each.declared = exact[each.name], ""
    return required, list(dict.fromkeys(files))


def _lines(text: str) -> list[tuple[int, str]]:
    """Logical lines without comments and options of a requirement, with where they begin."""
    found: list[tuple[int, str]] = []
    begun, number = "", 0
    for place, raw in enumerate(text.split("\n"), 1):
        line = re.sub(r"(?:^|\s)#.*", "", raw)
        number = number if begun else place
        if raw.endswith("\\") and not raw.lstrip().startswith("#"):
            begun += line.removesuffix("\\") + " "
            continue
        whole, begun = (begun + line).strip(), ""
        if whole:
            found.append((number, whole))
    return [*found, (number, begun.strip())] if begun.strip() else found


def _line(line: str, place: str) -> Pin | None:
    """What a line requires; None where it requires nothing with a name."""
    editable = EDITABLE.fullmatch(line)
    if line.startswith("-") and not editable:
        return None
    text = re.split(r"\s--?[A-Za-z]", editable[1] if editable else line)[0].strip().strip("\"'")
    wheel = WHEEL.fullmatch(text)
    egg = re.search(rf"[#&]egg=({NAME.pattern})", text)
    if named := egg or wheel:
        return Pin(name_of(named[1]), None, source="path" if wheel else "url")
    pin = requirement(text)
    if pin is None or editable:
        if editable or re.match(r"[./~$]|file:|\w+(?:\+\w+)?://|[A-Za-z]:\\", text) or "/" in text:
            return None
        raise Unreadable(f"{place}: is no requirement: {text[:80]}")
    return pin
