"""A text as people paste it, made plain: encodings, escapes, colours, records, broken lines."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

CHUNK = 1 << 18  # bytes read at a time
COLOUR = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
TYPESET = {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " "}
ESCAPES = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&#34;": '"', "&#39;": "'", "&#x27;": "'"}
PLAIN = {mark.encode(): plain.encode() for mark, plain in (TYPESET | ESCAPES).items()}
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # PowerShell writes logs so
START = "Traceback (most recent call last):"
WRITTEN = re.compile(r"(?<!\\)\\n")  # a line's end inside a string
LINE = ("log", "textPayload")  # where a collector puts each line that was printed
FEW = 100_000  # characters; a text this short is also searched for words that a terminal cut
BORDERS = re.compile(r"[ \t]*[|\u2502]?[ \t]*\r?\n[\s|>\u2502]*")


def chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Whole lines of plain UTF-8, many at a time; only a line longer than a chunk is cut."""
    rest = b""
    for data in _decoded(stream):
        lines, newline, rest = (rest + data).rpartition(b"\n")
        if newline:
            yield _plain(lines + newline)
        elif len(rest) > CHUNK:
            yield _plain(rest)
            rest = b""
    if rest:
        yield _plain(rest)


def _decoded(stream: BinaryIO) -> Iterator[bytes]:
    data = stream.read(CHUNK)
    if not data.startswith(UTF_16):
        yield data.removeprefix(codecs.BOM_UTF8)
        while data := stream.read(CHUNK):
            yield data
        return
    decoder = codecs.getincrementaldecoder("utf-16")("replace")
    while data:
        yield decoder.decode(data).encode("utf-8", "replace")
        data = stream.read(CHUNK)


def _plain(data: bytes) -> bytes:
    data = COLOUR.sub(b"", data)
    for mark, plain in PLAIN.items():
        data = data.replace(mark, plain)
    return data


def lines_of(line: str) -> tuple[list[str], bool]:
    """The lines that one line of a log holds; and whether they are an event of their own."""
    if line.startswith("{"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            for name in LINE:
                if isinstance(text := record.get(name), str) and "\n" not in text[:-1]:
                    return [text.rstrip("\r\n")], False
            return [part for text in _strings(record) for part in text.split("\n")], True
    if START in line and len(WRITTEN.findall(line)) > 1:
        return WRITTEN.split(line.replace('\\"', '"')), True
    return [line.rstrip("\r")], False


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


def unbroken(text: str) -> Iterator[str]:
    """The text in one line, each time as if something else had broken it over lines."""
    yield BORDERS.sub(" ", text)
    if len(text) > FEW:
        return
    yield text.replace("\r", "").replace("\n", "")  # a terminal breaks in the middle of a word
    before, bare = "", []
    for line in text.split("\n"):  # a collector puts a name and a time before each line
        same = 0
        for one, other in zip(shape(before), shape(line), strict=False):
            if one != other:
                break
            same += 1
        bare.append(line[line.rfind(" ", 0, same) + 1 :])
        before = line
    yield re.sub(r"\s+", " ", " ".join(bare))


def shape(text: str) -> str:
    """What stays the same in a prefix: all but its digits."""
    return re.sub(r"\d", "0", text)
