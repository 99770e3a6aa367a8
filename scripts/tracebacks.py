"""Read a text line by line: which known error texts are in it, and where in a traceback."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from pasted import START, shape

SHOWN = 10  # line numbers, frames and unknown errors kept of each
LINK = re.compile(r"\]\(\.\./(rules/[^)]+)\)")

CHAINED = re.compile(r"The above exception was the direct|During handling of the above exception")
FRAME = re.compile(r'\s*File "([^"]+)", line (\d+)(?:, in (\S+))?|(\S+\.py):(\d+): (?:in (\S+))?')
RAISED = re.compile(r"(?:[a-z_]\w*\.)*[A-Z]\w*[a-z]\w*(?:: .*|$)")
MARGIN = re.compile(r"(\s*)(?:\| ?|\+[-+ ]*(?:[\d.]+ -*)?)")  # of a member of an exception group
ORIGIN = re.compile(r"^(?:[\w.]+: )?(?:\([\w.]+\) )?(?:<class '[\w.]+'>: )?")  # classes, by version
ANYTHING = r"""(?:'[^']*'|"[^"]*"|\d+|\b[a-z_]\w*\.[a-z_]\w*\b)"""
VARYING = re.compile(ANYTHING)
LEAST = 18  # characters of a message that are the same in every run
BEGUN = 20  # characters by which a text that is cut off is known
WORDED = re.compile(r"\b(?:say|says|is) `([^`]{15,})`")  # by other versions
WRAPPERS = {  # what only reports an error that another line names
    "Application startup failed. Exiting.",
    "Exception during reset or similar",
    "Exception in ASGI application",
    "Exception terminating connection",
    "Future exception was never retrieved",
    "Task exception was never retrieved",
    "Worker failed to boot",
    "error connecting in 'pool-",
    "fastapi.exceptions.ResponseValidationError:",
    "procrastinate.exceptions.ConnectorException",
    "raised as a result of Query-invoked autoflush",
    "unhandled errors in a TaskGroup",
}
LOGGED = re.compile(r"\d{4}-|\d\d:\d\d|\[\d|(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b|_{3,}|={3,}")
FOREIGN = re.compile(r"site-packages|dist-packages|/lib/python3|^<|\\Lib\\")
OUTSIDE = 1 << 20  # the rank of a text that stands in no traceback


@dataclass(frozen=True)
class Entry:
    """One known text and what the index says of it."""

    fragment: str
    fields: dict[str, str]

    @property
    def rule(self) -> str:
        return ", ".join(LINK.findall(self.fields.get("Rule", ""))) or "none"

    @property
    def wordings(self) -> list[str]:
        """What other versions say in place of the text."""
        others = WORDED.findall(self.fields.get("Versions", ""))
        return [max(other.split("\u2026"), key=len).strip() for other in others]

    @cached_property
    def skeleton(self) -> re.Pattern[str] | None:
        """The message with any name, of a text that is searched by its class: some print none."""
        seen = self.fields.get("Seen", "").strip("` ")
        messages = [
            ORIGIN.sub("", part.strip().partition(" [SQL")[0]).strip()
            for part in seen.split("\u2026")
        ]
        if not 0 <= seen.find(self.fragment) < seen.find(messages[0]):
            return None
        steady = [
            ANYTHING.join(map(re.escape, fixed))
            for fixed in map(VARYING.split, messages)
            if len(fixed) > 1 and sum(map(len, fixed)) >= LEAST
        ]
        return re.compile(f"(?<!of )(?:{'|'.join(steady)})") if steady else None


@dataclass
class Match:
    """Where a text was seen; `rank` is how many errors of its traceback lie further in."""

    entry: Entry
    rank: int = OUTSIDE
    count: int = 0
    lines: list[int] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)

    def place(self) -> tuple[int, bool, int, int]:
        """Where it comes among others: inner before outer, earlier before later."""
        fragment = self.entry.fragment
        return self.rank, fragment in WRAPPERS, self.lines[0], -len(fragment)


@dataclass
class Raised:
    """One error of a traceback: what it says, and how deep in exception groups."""

    line: int
    text: str
    depth: int
    hits: set[str]


class Reader:
    """Takes a text line by line; remembers what was found, and the traceback it is in."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = {entry.fragment: entry for entry in entries}
        self.wordings = {fragment: fragment for fragment in self.entries}
        for fragment, entry in self.entries.items():
            for wording in entry.wordings:
                if not any(known in wording for known in self.entries):  # which has its own
                    self.wordings[wording] = fragment
        self.matches: dict[str, Match] = {}
        self.unknown: list[str] = []
        self.last = ""
        self.quoted: set[str] = set()  # texts that stand in lines of source
        self._forget()

    def _forget(self) -> None:
        self.inside = self._chained = self._awaiting = False
        self._prefix = ""
        self._raised: list[Raised] = []
        self._frames: list[str] = []
        self._quoted: dict[str, int] = {}

    def read(self, number: int, text: str, present: Iterable[str]) -> None:
        """Take one line; `present` are the texts that may be in it."""
        hits = self.hits(text, present)
        if START in text:
            self._start(text)
            return
        line = self._unprefixed(text)
        margin = MARGIN.match(line)
        depth = 1 + len(margin[1]) if margin else 0
        bare = line[margin.end() :] if margin else line
        if bare.startswith("E  "):  # as pytest prints an error
            bare, self.inside, self._awaiting = bare[1:].strip(), True, True
        if self.inside and CHAINED.search(bare):
            self._chained = True
        elif frame := FRAME.match(bare):
            path, place, name = frame[1] or frame[4], frame[2] or frame[5], frame[3] or frame[6]
            self._awaiting = self._awaiting or self.inside or bool(frame[4])
            if not FOREIGN.search(path):
                self._frames.append(f"{path}:{place}" + (f" in {name}" if name else ""))
        elif self._awaiting and RAISED.match(bare):
            hits = hits or self.alike(bare)
            self._raised.append(Raised(number, bare.strip(), depth, hits))
            self._awaiting = False
        elif self._awaiting and bare[:1] in ("", " ", "~", "^"):
            for fragment in hits:  # a line of source quotes it, which does not raise it
                self._quoted.setdefault(fragment, number)
            self.quoted |= hits
        elif self._raised and not (depth == 0 and LOGGED.match(line)):
            self._raised[-1].hits |= hits  # a message of several lines
        else:
            self.end()
            for fragment in hits:
                self.add(fragment, number)

    def hits(self, text: str, present: Iterable[str]) -> set[str]:
        """The entries whose text a line holds; of two in one place the more specific one."""
        found = sorted((wording for wording in present if wording in text), key=len)
        kept = [
            wording
            for place, wording in enumerate(found)
            if not any(_covers(longer, wording, text) for longer in found[place + 1 :])
        ]
        return {self.wordings[wording] for wording in kept}

    def begun(self, text: str) -> str:
        """The one entry whose text is begun at the end of a paste that was cut off."""
        text = text.rstrip(".\u2026\"'` ")
        fits = {
            fragment
            for wording, fragment in self.wordings.items()
            if any(text.endswith(wording[:size]) for size in range(BEGUN, len(wording)))
        }
        return fits.pop() if len(fits) == 1 else ""

    def alike(self, text: str) -> set[str]:
        """The entries that a message fits but for its names and numbers."""
        known = ((name, entry.skeleton) for name, entry in self.entries.items())
        return {name for name, skeleton in known if skeleton and skeleton.search(text)}

    def _start(self, text: str) -> None:
        before = text[: text.index(START)]
        inner = MARGIN.fullmatch(before.replace("Exception Group ", "")) and self.inside
        if not self._chained and not inner:
            self.end()
            self._prefix = "" if MARGIN.match(before) or not before.strip() else before
        self.inside, self._chained, self._awaiting = True, False, True

    def _unprefixed(self, text: str) -> str:
        """Without what a log collector puts before each line: a name, a time."""
        size = len(self._prefix)
        same = size and shape(text[:size]) == shape(self._prefix)
        return text[size:] if same else text

    def add(self, fragment: str, number: int, rank: int = OUTSIDE) -> Match:
        """Count a text that was seen at this line."""
        match = self.matches.setdefault(fragment, Match(self.entries[fragment]))
        match.count += 1
        match.rank = min(match.rank, rank)
        if len(match.lines) < SHOWN:
            match.lines.append(number)
        return match

    def end(self) -> None:
        """A traceback is complete: rank its errors from the innermost out."""
        for rank, raised in enumerate(sorted(self._raised, key=lambda each: -each.depth)):
            for fragment in raised.hits:
                match = self.add(fragment, raised.line, rank)
                match.frames = list(dict.fromkeys(match.frames + self._frames))[-SHOWN:]
        if not any(raised.hits for raised in self._raised):
            for fragment, number in self._quoted.items():  # nothing better explains it
                self.add(fragment, number)
            if self._raised and not self._quoted:
                self.unknown = list(dict.fromkeys([*self.unknown, self._raised[-1].text]))[:SHOWN]
        self._forget()


def _covers(longer: str, wording: str, text: str) -> bool:
    """Whether a text stands there only as part of a longer one, or as the class before it."""
    if f"{wording}: {longer}" in text:
        return True
    return wording in longer and wording not in text.replace(longer, "")
