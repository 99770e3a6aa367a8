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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

sys.dont_write_bytecode = True  # the skill's folder stays as it was installed

from tracebacks import Entry, Match, Reader  # noqa: E402

FOLDER = Path(__file__).resolve().parent.parent / "errors"
FIELD = re.compile(r"- \*(\w+)\*: (.*)")
COLOUR = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
TYPESET = {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " "}
CHUNK = 1 << 18  # bytes read at a time
FEW_LINES = 200  # of a text in which nothing else was found
FEW = 20_000  # lines; a text up to about this long is also searched for texts broken over lines


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
    needles = {fragment: _spellings(fragment) for fragment in reader.entries}
    number, small = 0, ""
    for chunk in _chunks(stream):
        data = COLOUR.sub(b"", chunk)
        for typeset, plain in TYPESET.items():
            data = data.replace(typeset.encode(), plain.encode())
        words = set(data.split())
        present = [
            fragment
            for fragment, spelt in needles.items()
            if any(inner <= words and each in data for each, inner in spelt)
        ]
        small = small + data.decode("utf-8", "replace") if number < FEW else ""
        reader.last = data.rstrip().rpartition(b"\n")[2].decode("utf-8", "replace")
        if not (present or reader.inside or b"Traceback (" in data or b"\nE  " in data):
            number += data.count(b"\n")
            continue
        for line in data.removesuffix(b"\n").decode("utf-8", "replace").split("\n"):
            number += 1
            record = _record(line)
            if record is None:
                reader.read(number, line.rstrip("\r"), present)
                continue
            reader.end()
            for each in record:
                reader.read(number, each, present)
            reader.end()
    reader.end()
    if small:
        _search_wrapped(reader, small)
    if small and not reader.matches:
        for place, line in enumerate(small.split("\n")[:FEW_LINES], 1):
            for fragment in reader.alike(line):
                reader.add(fragment, place)
    order = sorted(reader.matches.values(), key=lambda each: each.lines[0])
    return sorted(order, key=lambda each: (each.rank, -len(each.entry.fragment)))


def _spellings(fragment: str) -> list[tuple[bytes, set[bytes]]]:
    """A text as it stands in a plain log and in one of JSON lines, each with its inner words.

    Few chunks hold all of these words: looking them up in a set spares most of the searching.
    """
    spelt = {fragment.encode(), json.dumps(fragment)[1:-1].encode()}
    return [(each, set(each.split()[1:-1])) for each in spelt]


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Whole lines, many at a time; only a line longer than a chunk is cut."""
    rest = b""
    while data := stream.read(CHUNK):
        lines, newline, rest = (rest + data).rpartition(b"\n")
        if newline:
            yield lines + newline
        elif len(rest) > CHUNK:
            yield rest
            rest = b""
    if rest:
        yield rest


def _record(line: str) -> list[str] | None:
    """The lines inside the strings of a JSON record; None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        return [part for text in _strings(json.loads(line)) for part in text.split("\n")]
    except (ValueError, RecursionError):
        return None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


def _search_wrapped(reader: Reader, text: str) -> None:
    """Find texts that a terminal or a person broke over lines."""
    joined = re.sub(r"\s*\n[\s|>]*", " ", text)
    for fragment in reader.entries.keys() - reader.matches.keys() - reader.quoted:
        if fragment in joined:
            start = fragment.split(" ")[0]
            reader.add(fragment, text.count("\n", 0, max(text.find(start), 0)) + 1)


def worth_searching(text: str) -> str:
    """The words of an unexplained error that do not vary from run to run."""
    kind, _, message = text.rpartition(": ") if text.count(": ") == 1 else text.partition(": ")
    steady = re.sub(r"'[^']*'|\"[^\"]*\"|\S*\d\S*", "", message)
    words = [kind.rpartition(".")[2], *re.findall(r"[A-Za-z_]{4,}", steady)]
    return " ".join(words[:8])


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
        print(f"no known error text is in it; worth searching for: {words}", file=sys.stderr)
    return 0 if matches else 1


def _opened(text: str | None, parser: argparse.ArgumentParser) -> BinaryIO:
    if text is None or text == "-":
        if text is None and sys.stdin.isatty():
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
        prog="explain.py",
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
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader such as `head` may leave
    sys.exit(main())
