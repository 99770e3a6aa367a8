"""Blocks are real modules with real places: errors point into the page, items can be picked."""

import pickle
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path

import pytest

from rulebook.load import load
from rulebook.model import Block, Half
from rulebook.typecheck import type_errors
from tests.harness import ROOT, pages


@pytest.fixture
def half(request: pytest.FixtureRequest, tmp_path: Path) -> Half:
    """A block of the test's own, on line 20 of a page."""
    code = textwrap.dedent(request.param)
    block = Block(tmp_path / "page.md", 20, "python", code)
    return Half("rules/demo/page.md", "pair", "correct", "claim", block)


@pytest.mark.parametrize("half", ["def fail():\n    raise ValueError\n"], indirect=True)
def test_a_traceback_points_into_the_page(half: Half) -> None:
    """Line 2 of a block whose fence is on line 20 is line 22 of the page."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its place is the point
        load(half).fail()
    last = traceback.extract_tb(caught.value.__traceback__)[-1]

    assert (last.filename, last.lineno) == (str(half.block.path), 22)


@pytest.mark.parametrize("half", ["x = 1\ny: str = x\n"], indirect=True)
def test_a_type_error_points_into_the_page(half: Half) -> None:
    """mypy's line is the page's line."""
    (error,) = type_errors([half], ROOT)

    assert (error.path, error.line) == (half.block.path, 22)


MODELS = """
    from __future__ import annotations
    from dataclasses import dataclass
    from pydantic import BaseModel
    from sqlalchemy import ForeignKey
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

    class Base(DeclarativeBase): ...

    class Node(Base):
        __tablename__ = "nodes"
        id: Mapped[int] = mapped_column(primary_key=True)
        parent_id: Mapped[int | None] = mapped_column(ForeignKey("nodes.id"))
        children: Mapped[list[Node]] = relationship()

    class Tree(BaseModel):
        children: list[Tree] = []

    @dataclass
    class Point:
        x: int
"""


@pytest.mark.parametrize("half", [MODELS], indirect=True)
def test_a_block_is_a_module_that_libraries_can_look_into(half: Half) -> None:
    """Models, self-references and pickles all look up names in `sys.modules`."""
    module = load(half)

    assert module.Node(children=[module.Node()]).children
    assert module.Tree(children=[{"children": []}]).children
    assert pickle.loads(pickle.dumps(module.Point(1))) == module.Point(1)  # noqa: S301


@pytest.mark.parametrize("offset", [0, 3])
def test_a_block_is_picked_by_any_of_its_lines(offset: int) -> None:
    """`pytest rules/x/y.md:42` runs the block that line 42 lies in."""
    half = pages()["asyncio/taskgroup"].halves[1]
    place = f"{half.page}:{half.block.line + offset}"
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", place]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert half.place in done.stdout.replace(".md::", ".md:")
    assert "1 test collected" in done.stdout
