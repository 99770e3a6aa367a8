"""benchmarks/: it runs, every variant answers the same, and it says no more than it saw."""

import asyncio
import json
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.figures import Difference, difference, figure
from benchmarks.report import picture, text
from benchmarks.run import Measured, Result, check
from tests.harness import ROOT

TRIPS = {
    "one: bare": 3,
    "one: orders": 1,
    "one: joinedload": 1,
    "one: built each time": 1,
    "one: selectinload": 2,
    "one: transaction": 3,
    "one: transaction, is_closed": 3,
    "one: transaction, ping": 6,
    "page: orders": 1,
    "page: a refresh for each order": 41,
    "post: orders": 4,
    "post: flush in a savepoint": 6,
    "post: refresh after commit": 9,
}
STEADY = [100.0, 101, 99, 100, 102, 98, 100, 101]


def result(**samples: list[float]) -> Result:
    """One case with these samples by variant, each variant against the bare handler."""
    variants = {name: Measured("one", name, "bare", 1, each) for name, each in samples.items()}
    variants["bare"].against = ""
    return Result("one", variants)


@pytest.mark.timeout(180)
@pytest.mark.slow
def test_a_short_run_counts_round_trips_and_concludes_nothing() -> None:
    """All variants answer alike or it fails; waits are counted, one round tells no costs apart."""
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--requests", "8", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=160)
    assert done.returncode == 0, done.stderr
    cases = json.loads(done.stdout)["cases"]
    counted = {
        f"{case['case']}: {name}": each["trips"]
        for case in cases
        for name, each in case["variants"].items()
        if len(each["samples"]) == 1
    }
    told = [each["figure"] for case in cases for each in case["differences"]]

    assert (TRIPS.items() <= counted.items(), set(told)) == (True, {None}), counted


def test_a_median_lies_between_its_bounds() -> None:
    """One round in nine that another program spoilt moves neither the median nor a bound far."""
    found = figure([*STEADY, 900.0])

    assert found
    assert (found.low, found.median, found.high) == (99, 100, 102)


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        ([200.0, 203, 197, 201, 202, 199, 200, 198], True),
        ([101.0, 99, 103, 97, 102, 98, 104, 96], False),
        ([130.0, 90, 140, 80, 150, 85, 130, 95], False),
        ([50.0, 51, 49, 50, 52, 48, 50, 51], True),
    ],
    ids=["dearer", "alike", "noisy", "cheaper"],
)
def test_a_difference_within_the_spread_is_none(samples: list[float], told: bool) -> None:
    """Variants are told apart only by more than what the figure may be off."""
    found = difference("other", "bare", {"other": samples, "bare": STEADY})

    assert found.told_apart is told


def test_an_undecided_difference_is_said_to_be_none() -> None:
    """Nobody reads a figure where there is none."""
    said = str(Difference("built each time", "joinedload", None))

    assert said == "built each time and joinedload: no conclusion, the spread is larger"


def test_the_table_names_cost_and_round_trips() -> None:
    """A line a variant: microseconds, ratio with its bounds, round trips."""
    doubled = [2 * sample for sample in STEADY]
    lines = [line.split() for line in text([result(bare=STEADY, other=doubled)]).splitlines()]

    assert ["other", "200", "2.00", "(2.00", "to", "2.00)", "1"] in lines


def test_the_picture_has_a_bar_for_each_variant() -> None:
    """The SVG holds the names and the figures."""
    drawn = picture([result(bare=STEADY, other=[3 * sample for sample in STEADY])])

    assert re.findall(r">(bare|other|\d\.\d)<", drawn) == ["bare", "1.0", "other", "3.0"]


@pytest.mark.parametrize(
    ("answer", "refused"), [(b'{"id":"b","sku":1}', False), (b'{"id":"b","sku":2}', True)]
)
def test_a_variant_that_answers_otherwise_is_refused(answer: bytes, refused: bool) -> None:
    """Ids and times may differ, nothing else may."""

    async def ask(case: str, variant: str) -> bytes:
        return answer if variant == "other" else b'{"id":"a","sku":1}'

    asking: Any = SimpleNamespace(ask=ask)
    try:
        asyncio.run(check(asking, [Measured("one", "other")]))
        raised = False
    except ValueError:
        raised = True

    assert raised is refused
