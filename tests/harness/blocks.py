"""Collect each code block of each page as a test: it loads, and it type-checks."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rulebook.load import load
from rulebook.model import Finding, Half
from rulebook.parse import read_page
from rulebook.typecheck import type_errors
from tests.harness import ROOT, pages

PLACE = re.compile(r"(.+\.md):(\d+)")


def pytest_configure(config: pytest.Config) -> None:
    """Let `pytest rules/x/y.md:42` mean the block that line 42 lies in."""
    config.args = [_node_id(argument) for argument in config.args]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix == ".md" and file_path.is_relative_to(ROOT / "rules"):
        return PageFile.from_parent(parent, path=file_path)
    return None


@functools.cache
def all_type_errors() -> list[Finding]:
    """mypy's errors in every block; asked for by each item, worked out once a run."""
    return type_errors([half for page in pages().values() for half in page.halves], ROOT)


class PageFile(pytest.File):
    """A rule; its items are its halves."""

    def collect(self) -> Iterator[pytest.Item]:
        page, _ = read_page(self.path, ROOT)
        for half in page.halves if page else ():
            name = f"{half.block.line}[{half.verdict}]"
            yield BlockItem.from_parent(self, name=name, nodeid=f"{self.nodeid}:{name}", half=half)


class BlockItem(pytest.Item):
    """One block: executed as a module, and checked by mypy --strict."""

    def __init__(self, *, half: Half, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.half = half

    def runtest(self) -> None:
        load(self.half)
        errors = list(filter(self.half.block.holds, all_type_errors()))
        if errors:
            lines = [f"{self.half.page}:{each.line}: {each.message}" for each in errors]
            pytest.fail("\n".join(lines), pytrace=False)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.half.block.line - 1, self.half.place


def _node_id(argument: str) -> str:
    match = PLACE.fullmatch(argument)
    if match is None:
        return argument
    page, _ = read_page(Path(match[1]).resolve(), ROOT)
    above = [half for half in page.halves if half.block.line <= int(match[2])] if page else []
    if not above:
        raise pytest.UsageError(f"{argument}: no code block at or above this line")
    return f"{match[1]}::{above[-1].block.line}[{above[-1].verdict}]"
