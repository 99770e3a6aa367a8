#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""What does this error text, traceback or log mean, and what is the cure?

Searches a text for the error texts in ../errors, each of which was produced by a run, and prints
cause and cure of those it finds. In a traceback the innermost cause comes first: members of an
exception group before the group, what was raised first before what wrapped it.

Exit status: 0 something was explained, 1 nothing was, 2 misuse.
"""

import argparse
import io
import json
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

sys.dont_write_bytecode = True  # the skill's folder stays as it was installed

import pasted  # noqa: E402
from tracebacks import Entry, Match, Reader  # noqa: E402

FOLDER = Path(__file__).resolve().parent.parent / "errors"
FIELD = re.compile(r"- \*(\w+)\*: (.*)")
FEW_LINES = 200  # of a text in which nothing else was found
FEW = 1 << 21  # characters; a text up to about this long is also searched for broken texts


def read_entries(folder: Path = FOLDER) -> list[Entry]:
    """Read the index. Raises OSError when it is not where the skill has it."""
    entries: list[Entry] = []
    for path in sorted(folder.glob("*.md")):
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line.startswith("## "):
                entries.append(Entry(line.removeprefix("## ").strip(), {}))
            elif entries and (match := FIELD.fullmatch(line)):
                entries[-1].fields[match[1]] = match[2]
    if not entries:
        raise OSError(f"{folder}: holds no error index; install the whole skill")
    return entries


def explain(stream: BinaryIO, reader: Reader) -> list[Match]:
    """Read a stream of bytes to its end; return what was found, the innermost causes first."""
    needles = {wording: _spellings(wording) for wording in reader.wordings}
    number, size, small = 0, 0, ""
    for data in pasted.chunks(stream):
        words = set(data.split())
        present = [
            wording
            for wording, spelt in needles.items()
            if any(inner <= words and each in data for each, inner in spelt)
        ]
        small = small + data.decode("utf-8", "replace") if size < FEW else ""
        size += len(data)
        reader.last = data.rstrip().rpartition(b"\n")[2].decode("utf-8", "replace")
        if not (present or reader.inside or b"Traceback (" in data or b"\nE  " in data):
            number += data.count(b"\n")
            continue
        for line in data.removesuffix(b"\n").decode("utf-8", "replace").split("\n"):
            number += 1
            lines, event = pasted.lines_of(line)
            if event:
                reader.end()
            for each in lines:
                reader.read(number, each, present)
            if event:
                reader.end()
    reader.end()
    if small:
        _search_again(reader, small)
    return sorted(reader.matches.values(), key=Match.place)


def _spellings(wording: str) -> list[tuple[bytes, set[bytes]]]:
    """A text as it stands in a plain log and in one of JSON lines, each with its inner words.

    Few chunks hold all of these words: looking them up in a set spares most of the searching.
    """
    spelt = {wording.encode(), json.dumps(wording)[1:-1].encode()}
    return [(each, set(each.split()[1:-1])) for each in spelt]


def _search_again(reader: Reader, text: str) -> None:
    """Find texts that were broken over lines; where nothing is found, what is alike or cut off."""
    for line in pasted.unbroken(text):
        for fragment in reader.hits(line, reader.wordings) - reader.matches.keys() - reader.quoted:
            start = fragment.split(" ")[0]
            reader.add(fragment, text.count("\n", 0, max(text.find(start), 0)) + 1)
    if reader.matches:
        return
    lines = text.rstrip().split("\n")
    for place, line in enumerate(lines[:FEW_LINES], 1):
        for fragment in reader.alike(line):
            reader.add(fragment, place)
    if not reader.matches and (fragment := reader.begun(lines[-1])):
        reader.add(fragment, len(lines))


def worth_searching(text: str) -> str:
    """The words of an unexplained error that do not vary from run to run."""
    kind, _, message = text.rpartition(": ") if text.count(": ") == 1 else text.partition(": ")
    steady = re.sub(r"'[^']*'|\"[^\"]*\"|\S*\d\S*", "", message)
    kinds = [kind.rpartition(".")[2]] if re.fullmatch(r"[\w.]+", kind) else []
    return " ".join([*kinds, *re.findall(r"\b[A-Za-z_]{4,}\b", steady)][:8])


def main(argv: Sequence[str] | None = None) -> int:
    """Read what the arguments name, print what is known of it, return the exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        entries = read_entries()
        if arguments.list:
            print("\n".join(sorted(entry.fragment for entry in entries)))
            return 0
        with _opened(arguments.text, parser) as stream:
            reader = Reader(entries)
            matches = explain(stream, reader)
    except OSError as error:
        print(f"explain.py: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(
            json.dumps({"matches": [_plain(each) for each in matches], "unknown": reader.unknown})
        )
    else:
        print("\n\n".join(map(_shown, matches)), end="\n" if matches else "")
        for text in reader.unknown:
            print(f"nothing is known of: {text}", file=sys.stderr)
    if not matches:
        words = worth_searching((reader.unknown or [reader.last])[-1])
        search = f"; worth searching for: {words}" if words else ""
        print(f"no known error text is in it{search}", file=sys.stderr)
    return 0 if matches else 1


def _opened(text: str | None, parser: argparse.ArgumentParser) -> BinaryIO:
    if text is None or text == "-":
        if sys.stdin is None or (text is None and sys.stdin.isatty()):
            parser.error("give a text, a file, or standard input")
        return sys.stdin.buffer
    path = Path(text)
    looks_like_a_path = (
        len(text) < 256 and not re.search(r"\s", text) and ("/" in text or path.suffix)
    )
    try:
        if path.is_file() or looks_like_a_path:
            return path.open("rb")
    except (OSError, ValueError) as error:
        if looks_like_a_path:
            parser.error(f"{text}: cannot be read: {getattr(error, 'strerror', None) or error}")
    return io.BytesIO(text.encode("utf-8", "replace"))


def _plain(match: Match) -> dict[str, Any]:
    fields = match.entry.fields
    said = {name.lower(): fields[name] for name in ("Cause", "Do", "Versions") if name in fields}
    seen = {"rule": match.entry.rule, "count": match.count, "lines": match.lines}
    return {"error": match.entry.fragment} | said | seen | {"frames": match.frames}


def _shown(match: Match) -> str:
    times = "once" if match.count == 1 else f"{match.count} times, first"
    lines = [f"{match.entry.fragment}  ({times} at line {match.lines[0]})"]
    if match.frames:
        lines.append(f"  Your code: {', '.join(match.frames[-3:])}")
    for name in ("Cause", "Do", "Versions"):
        if name in match.entry.fields:
            lines.append(f"  {name}: {match.entry.fields[name]}")
    if match.entry.rule != "none":
        lines.append(f"  Read: {match.entry.rule}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Explain the errors in a text, a traceback or a log: cause, cure, rule.",
        epilog="Exit status: 0 something was explained, 1 nothing was, 2 misuse.",
    )
    parser.add_argument(
        "text", nargs="?", metavar="TEXT|FILE|-", help="default: standard input, as a stream"
    )
    parser.add_argument("--json", action="store_true", help="print matches and unknown as JSON")
    parser.add_argument("--list", action="store_true", help="print every known text")
    return parser


if __name__ == "__main__":
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="replace")  # a console may lack a character
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader such as `head` may leave
    sys.exit(main())
