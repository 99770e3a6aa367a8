"""Both halves of each pair in an application: found by exactly the named probes, and ok."""

from typing import Any

import pytest

from tests.harness import correct, incorrect
from tests.harness.probing import Limits, found, judged, probed
from tests.probes.pairs import CASES, Case
from tests.probes.shop import Store

LONG = {"keep-partial-results", "own-background-tasks"}  # the probes wait for what goes on


def judge(case: Case, load: Any, store: Store) -> list[Any]:
    app = case.make(load(case.page, case.pair), store)
    options = {"limits": Limits(points=8, settle=0.3)} | case.options
    return probed(app, *case.requests, **options)


def parametrised(test: Any) -> Any:
    known = [
        pytest.param(
            case,
            kind,
            id=f"{case.pair}-{kind}",
            marks=[pytest.mark.slow] if case.pair in LONG or kind != case.kinds[0] else [],
        )
        for case in CASES
        for kind in case.kinds
    ]
    return pytest.mark.parametrize(("case", "store"), known, indirect=["store"])(test)


@pytest.mark.filterwarnings("ignore")  # what a wrong half leaves behind is its own fault
@parametrised
def test_the_incorrect_half_is_found_by_exactly_its_probes(case: Case, store: Store) -> None:
    """Every probe looks; those whose symptom the pair has find it, the others do not."""
    verdicts = judge(case, incorrect, store)

    assert found(verdicts) == set(case.probes), verdicts


@parametrised
def test_the_correct_half_is_ok(case: Case, store: Store) -> None:
    """No probe finds anything, and those that saw the other half fail call this one ok."""
    verdicts = judge(case, correct, store)

    said = [judged(verdicts, probe) for probe in case.probes]
    assert (found(verdicts), said) == (set(), [{"ok"}] * len(said)), verdicts
