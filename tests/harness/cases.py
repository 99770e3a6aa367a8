"""Cases of the checks: Markdown whose code says, on the line, which report it expects.

A `## section` has the name of a trap. Python fences that follow each other without prose between
them are the files of one project; a first line `# app/db.py` names a file, which is otherwise
`app.py`. A line that has to be reported ends with `# finding: what to write instead`, or with
`# hint: ...`; `# finding[slug]: ...` expects the report of another trap of the page.
"""

import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from markdown_it import MarkdownIt

from tests.harness import ROOT

FOLDER = ROOT / "tests" / "checks"
EXPECTED = re.compile(r"# (finding|hint)(?:\[([a-z0-9-]+)\])?: (.*?)(?=  # (?:finding|hint)|$)")
NAMED = re.compile(r"# ([\w/.-]+\.py)\n")


@dataclass(frozen=True)
class Case:
    """A small project and the reports it has to draw: (file, line, grade, trap, instead)."""

    page: str
    slug: str
    line: int
    files: tuple[tuple[str, str], ...]

    @property
    def trap(self) -> str:
        return f"{self.page}#{self.slug}"

    @property
    def place(self) -> str:
        return f"{self.page}.md:{self.line}"

    @property
    def expected(self) -> set[tuple[str, int, str, str, str]]:
        return {
            (name, number, match[1], f"{self.page}#{match[2] or self.slug}", match[3])
            for name, code in self.files
            for number, line in enumerate(code.split("\n"), 1)
            for match in EXPECTED.finditer(line)
        }


@cache
def cases() -> tuple[Case, ...]:
    """Every case below tests/checks."""
    return tuple(case for path in sorted(FOLDER.glob("*/*.md")) for case in _of(path))


def _of(path: Path) -> list[Case]:
    page = f"{path.parent.name}/{path.stem}"
    found: list[Case] = []
    slug, files, start = "", [], 0
    tokens = MarkdownIt("commonmark").parse(path.read_text(encoding="utf-8"))
    for index, token in enumerate(tokens):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "fence" and token.info == "python":
            named = NAMED.match(token.content)
            start = start or line
            files.append((named[1] if named else "app.py", token.content))
            continue
        if files and token.type.endswith("_open"):
            found.append(Case(page, slug, start, tuple(files)))
            files, start = [], 0
        if token.type == "heading_open" and token.tag == "h2":
            slug = tokens[index + 1].content
    if files:
        found.append(Case(page, slug, start, tuple(files)))
    return found


@cache
def reviewer() -> ModuleType:
    """The module that runs the checks, with every check loaded."""
    folder = str(ROOT / "scripts")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    from checks import load, run

    load()
    return run


def reported(
    files: dict[str, str], folder: Path
) -> tuple[set[tuple[str, int, str, str, str]], list[str]]:
    """Write a project into a folder and review it: the reports, and what could not be read."""
    for name, code in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    result = reviewer().review(list(files), {name: folder / name for name in files}, cores=1)
    found = {
        (each.path, each.line, "hint" if each.hint else "finding", each.trap, each.instead)
        for each in result.found
    }
    return found, [f"{each.path}:{each.line}: {each.message}" for each in result.unread]
