"""Checks: functions under the names of the traps and pairs they find in code.

`checks/<category>/<rule>.py` mirrors `rules/<category>/<rule>.md`; the function
`shield_without_a_reference` in `checks/asyncio/cancellation.py` finds
`asyncio/cancellation#shield-without-a-reference`.
"""

import ast
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from project.module import Module


@dataclass(frozen=True)
class Report:
    """A place in a module: what happens there, and what to write on its line instead.

    A hint is a place to look at; what is no hint is a finding.
    """

    node: ast.AST
    message: str
    instead: str
    hint: bool = False


@dataclass(frozen=True, order=True)
class Found:
    """What a check found, at a place a person can go to; lines and columns count from 1."""

    path: str
    line: int
    column: int
    trap: str
    message: str
    instead: str
    hint: bool = False
    end: int = 0  # last line of the expression


Function = Callable[[Module], Iterator[Report]]


@dataclass(frozen=True)
class Check:
    """A function that finds a trap, and the words of which a module must hold one."""

    trap: str
    function: Function
    words: tuple[bytes, ...]
    tests: bool

    def applies(self, module: Module) -> bool:
        """Whether a module can hold the trap at all."""
        if module.is_test and not self.tests:
            return False
        return any(map(module.holds, self.words))


CHECKS: list[Check] = []


def check(*words: str, tests: bool = False) -> Callable[[Function], Function]:
    """Register a check. Tests of the user's project are read only when `tests` is set."""

    def register(function: Function) -> Function:
        page = function.__module__.removeprefix("checks.").replace(".", "/")
        name = function.__name__.rstrip("_")  # `import_` finds the pair called import
        trap = f"{page}#{name}".replace("_", "-")
        CHECKS.append(Check(trap, function, tuple(map(str.encode, words)), tests))
        return function

    return register


def load() -> list[Check]:
    """Import every module of checks beside this one, and return what they register."""
    folder = Path(__file__).parent
    for path in sorted(folder.glob("*/*.py")):
        importlib.import_module(f"checks.{path.parent.name}.{path.stem}")
    return CHECKS
