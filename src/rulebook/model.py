"""The nouns: page, pair, half, claim, finding. Data only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is wrong with a file a person wrote, and what to do about it."""

    path: Path
    line: int
    message: str
    hint: str


@dataclass(frozen=True)
class Block:
    """A fenced code block; `line` is the 1-based line of its opening fence."""

    path: Path
    line: int
    language: str
    code: str

    def holds(self, finding: Finding) -> bool:
        """Whether a finding is about this block: at its fence or at a line of its code."""
        end = self.line + self.code.count("\n")
        return finding.path == self.path and self.line <= finding.line <= end


@dataclass(frozen=True)
class Half:
    """One side of a pair: its verdict, what the page says of it, its code."""

    page: str
    pair: str
    verdict: str
    claim: str
    block: Block

    @property
    def place(self) -> str:
        """Name it as a test id does: `rules/asyncio/cancellation.md:31[incorrect]`."""
        return f"{self.page}:{self.block.line}[{self.verdict}]"


@dataclass(frozen=True)
class Pair:
    """An incorrect half, the correct one, and the heading they stand under."""

    slug: str
    heading: str
    line: int
    incorrect: Half
    correct: Half

    @property
    def halves(self) -> tuple[Half, Half]:
        return self.incorrect, self.correct


@dataclass(frozen=True)
class Claim:
    """A bullet under Traps or Versions: something a test has to confirm."""

    slug: str
    line: int
    text: str


@dataclass(frozen=True)
class Heading:
    level: int
    text: str
    line: int


@dataclass(frozen=True)
class Page:
    """A Markdown page of the skill: a rule, or SKILL.md."""

    path: Path
    text: str
    meta: dict[str, Any]
    meta_lines: dict[str, int]
    body_line: int
    headings: tuple[Heading, ...]
    pairs: tuple[Pair, ...]
    claims: tuple[Claim, ...]
    blocks: tuple[Block, ...]
    links: tuple[tuple[int, str], ...]

    @property
    def id(self) -> str:
        """`asyncio/cancellation` for a rule, `SKILL` for SKILL.md."""
        if self.path.name == "SKILL.md":
            return "SKILL"
        return f"{self.path.parent.name}/{self.path.stem}"

    @property
    def category(self) -> str:
        return self.path.parent.name

    @property
    def halves(self) -> tuple[Half, ...]:
        return tuple(half for pair in self.pairs for half in pair.halves)

    @property
    def body(self) -> str:
        return "\n".join(self.text.split("\n")[self.body_line - 1 :])
