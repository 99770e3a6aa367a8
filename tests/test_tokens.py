"""The estimate of tokens stays near what a published tokenizer counted."""

import pytest

from rulebook.tokens import estimate
from tests.harness import ROOT

# By npm's @anthropic-ai/tokenizer 0.0.4; the texts are ones that do not change.
COUNTED = {"LICENSE": 231, "tests/mutants/book/rules/demo/retries.md": 415}


@pytest.mark.parametrize(("name", "count"), COUNTED.items())
def test_the_estimate_is_near_and_not_below(name: str, count: int) -> None:
    """Budgets are kept by an upper estimate that is not far off."""
    assert count <= estimate((ROOT / name).read_text(encoding="utf-8")) <= count * 1.2
