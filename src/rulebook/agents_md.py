"""The block about the skill in a project's AGENTS.md; every other byte of it is the user's."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NAME = "AGENTS.md"
START, END = b"<!-- python-backend:start", b"<!-- python-backend:end -->"
DIGEST = re.compile(rb" ([0-9a-f]{12}) -->")
EOL = re.compile(rb"\r\n|\n|\r")
BOM = b"\xef\xbb\xbf"
INSTEAD = ("CLAUDE.md", ".claude/CLAUDE.md", "CLAUDE.local.md")
IMPORT = re.compile(rb"@(?:\S*/)?AGENTS\.md")
TEXT = """\
## Async Python: the skill python-backend

For asyncio, FastAPI, SQLAlchemy, Alembic, connection pools and HTTP clients, prefer the rules in \
`{skill}/` over memory: their examples were run, on versions they name.

- Before you write or review such code, read `{skill}/SKILL.md` and the one to three rules it \
leads to.
- For an error text, a traceback or a log: `python3 {skill}/scripts/explain.py "text or file"`.
- Before you hand over: `python3 {skill}/scripts/review.py --diff`, then mend what it finds."""


class AgentsMdError(Exception):
    """AGENTS.md cannot be changed safely; the message names file and line and says what to do."""


@dataclass(frozen=True)
class Change:
    """What becomes of AGENTS.md; `None` stands for no file."""

    path: Path  # where a link leads, if it is one
    old: bytes | None
    new: bytes | None

    @property
    def action(self) -> str:
        """What is done to the file: created, updated, unchanged or removed."""
        if self.old == self.new:
            return "unchanged"
        return "created" if self.old is None else "removed" if self.new is None else "updated"


def plan(project: Path, skill: str | None, *, wanted: bool, force: bool) -> Change | None:
    """Say what becomes of AGENTS.md, None if nothing; raises AgentsMdError, touches nothing.

    The block names the folder `skill`; without one it goes. A block that is there is brought up
    to date, a new one made only if it is `wanted`.
    """
    path = project / NAME
    target = Path(os.path.realpath(path))
    inside = target.is_relative_to(os.path.realpath(project))
    if not inside or target.is_symlink() or (target.exists() and not target.is_file()):
        if wanted:
            raise AgentsMdError(f"{path}: is no file of this project; put one in its place")
        return None
    old = target.read_bytes() if target.exists() else None
    mark = BOM if (old or b"").startswith(BOM) else b""
    data = (old or b"").removeprefix(BOM)
    span = _find(data, path, force=force)
    if span is None and not wanted:
        return None
    if b"\0" in data:
        raise AgentsMdError(f"{path}: is not UTF-8 text; save it as UTF-8, then repeat")
    if skill is None:
        new = _without(data, span)
    else:
        new = _with(data, span, skill, present=old is not None)
    if new is not None:
        new = mark + new
    if old is not None and new != old and not _writable(target):
        raise AgentsMdError(f"{path}: is read-only; make it writable, then repeat")
    return Change(target, old, new)


def hidden_by(project: Path) -> Path | None:
    """The file that Claude Code reads in place of AGENTS.md, if none of those imports it."""
    agents = project / NAME
    found = [project / name for name in INSTEAD if (project / name).is_file()]
    for path in found:
        if (agents.exists() and path.samefile(agents)) or IMPORT.search(path.read_bytes()):
            return None
    return found[0] if found else None


@contextmanager
def changed(change: Change) -> Iterator[None]:
    """Write the file; put the old bytes back when the block fails."""
    try:
        _write(change.path, change.new)
        yield
    except BaseException:
        _write(change.path, change.old)
        raise


def _find(data: bytes, path: Path, *, force: bool) -> slice | None:
    """Where the block stands, without its last line's end; None if there is none."""
    lines = data.splitlines(keepends=True)
    bare = [line.strip() for line in lines]
    starts = [i for i, line in enumerate(bare) if line.startswith(START)]
    ends = [i for i, line in enumerate(bare) if line == END]
    if not starts and not ends:
        return None

    def damaged(line: int, what: str) -> AgentsMdError:
        return AgentsMdError(f"{path}:{line + 1}: {what}, then repeat")

    if len(starts) > 1:
        raise damaged(starts[1], "a second block of python-backend begins; delete one of them")
    if not starts:
        raise damaged(ends[0], "a block ends that has no first line; delete this line")
    first = starts[0]
    if not ends or ends[0] < first:
        end = END.decode()
        raise damaged(first, f"this block has no end; put `{end}` below it, or delete it")
    if len(ends) > 1:
        raise damaged(ends[1], "the block ended above; delete this line")
    last = ends[0]
    stamp = DIGEST.fullmatch(bare[first].removeprefix(START))
    body = [line.rstrip(b"\r\n") for line in lines[first + 1 : last]]
    if not force and (stamp is None or stamp[1] != _digest(body)):
        advice = "move your text out of it, or repeat with --force"
        raise AgentsMdError(f"{path}:{first + 1}: this block was edited; {advice}")
    start, stop = sum(map(len, lines[:first])), sum(map(len, lines[: last + 1]))
    return slice(start, stop - _tail(lines[last]))


def _with(data: bytes, span: slice | None, skill: str, *, present: bool) -> bytes:
    """The text with the block in place, or at its end, which stays without a newline if it was."""
    # The last line's end, or what stands in the block: another would join the one before it.
    eol: bytes = [b"\n", *EOL.findall(data if span is None else data[span])][-1]
    body = TEXT.format(skill=skill).encode().split(b"\n")
    # Blank lines beside the markers: formatters of Markdown would put them there.
    block = eol.join([START + b" " + _digest(body) + b" -->", b"", *body, b"", END])
    if span is not None:
        return data[: span.start] + block + data[span.stop :]
    if not present or _tail(data):
        return data + (eol if present else b"") + block + eol
    return data + eol + eol + block if data else block


def _without(data: bytes, span: slice | None) -> bytes | None:
    """The text as it was before the block came; None if there was no file."""
    if span is None:
        return data
    before, after = data[: span.start], data[span.stop :]
    if not after:  # the text had no newline at its end: it was given one, and a blank line
        return _chopped(_chopped(before))
    after = after[_head(after) :]
    if before:
        return _chopped(before) + after or None
    return after[_head(after) :] or None


def _chopped(data: bytes) -> bytes:
    return data[: len(data) - _tail(data)]


def _tail(data: bytes) -> int:
    """The length of the line's end at the end."""
    return 2 if data.endswith(b"\r\n") else int(data.endswith((b"\n", b"\r")))


def _head(data: bytes) -> int:
    """The length of the line's end at the beginning."""
    found = EOL.match(data)
    return len(found[0]) if found else 0


def _digest(body: list[bytes]) -> bytes:
    return hashlib.sha256(b"\n".join(filter(None, body))).hexdigest()[:12].encode()


def _writable(path: Path) -> bool:
    # Root may write anything; whoever took the write bits away did not want that.
    return bool(path.stat().st_mode & 0o222) and os.access(path, os.W_OK)


def _write(path: Path, data: bytes | None) -> None:
    """Write in place: a new file would have another owner, and break hard links."""
    if data is None:
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(data)
