"""Spoil a pair or its observation, and see the harness refuse it with its own message."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from rulebook.model import Pair
from rulebook.parse import read_page
from tests.harness.judge import judge
from tests.mutants import BOOK


@pytest.fixture(scope="module")
def book_test() -> ModuleType:
    """The book's test module, whose observations are driven by hand here."""
    path = BOOK / "tests/rules/demo/test_retries.py"
    spec = importlib.util.spec_from_file_location("book_test", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pair_after(tmp_path: Path, old: str = "", new: str = "", at: int = 0) -> Pair:
    """The book's first or second pair, after one replacement in its page."""
    text = (BOOK / "rules/demo/retries.md").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "rules" / "demo" / "retries.md"
    path.parent.mkdir(parents=True)
    path.write_text(text.replace(old, new), encoding="utf-8")
    page, findings = read_page(path, tmp_path)
    assert findings == []
    assert page
    return page.pairs[at]


@pytest.mark.parametrize("verdict", ["incorrect", "correct", "hollow"])
@pytest.mark.parametrize("at", [0, 1])
def test_an_honest_pair_draws_no_complaint(
    tmp_path: Path, book_test: ModuleType, verdict: str, at: int
) -> None:
    """Both verdicts hold, and the emptied half is not taken for the correct one."""
    test = [book_test.poll_fetches_again_after_one_cancel, book_test.one_attempt_too_many][at]

    assert judge(test.__wrapped__, pair_after(tmp_path, at=at), verdict) is None


def test_a_repaired_incorrect_half_is_refused(tmp_path: Path, book_test: ModuleType) -> None:
    """An incorrect half that works is not an example of anything."""
    pair = pair_after(tmp_path, "except:", "except ValueError:")

    complaint = judge(book_test.poll_fetches_again_after_one_cancel.__wrapped__, pair, "incorrect")

    assert "the incorrect half does not show the symptom" in str(complaint)


def test_a_broken_correct_half_is_refused(tmp_path: Path, book_test: ModuleType) -> None:
    """A correct half with the fault in it is named."""
    pair = pair_after(tmp_path, "except ConnectionError:", "except BaseException:")

    complaint = judge(book_test.poll_fetches_again_after_one_cancel.__wrapped__, pair, "correct")

    assert "the correct half shows the symptom" in str(complaint)


@pytest.mark.parametrize(
    ("answer", "verdict", "complaint"),
    [
        (True, "correct", "the correct half shows the symptom"),
        (False, "incorrect", "the incorrect half does not show the symptom"),
        (False, "hollow", "a half that does nothing passes"),
        (None, "correct", "returned None"),
        (1, "incorrect", "returned 1"),
    ],
)
def test_an_observation_that_does_not_look_is_refused(
    tmp_path: Path, answer: object, verdict: str, complaint: str
) -> None:
    """A verdict that does not depend on the half fails on one of them."""
    found = judge(lambda half: answer, pair_after(tmp_path), verdict)

    assert complaint in str(found)


def test_a_correct_half_that_does_nothing_is_refused(tmp_path: Path, book_test: ModuleType) -> None:
    """The normal path is driven, so an empty correct half cannot pass."""
    pair = pair_after(tmp_path, "return list(range(limit))", "return []", at=1)

    with pytest.raises(AssertionError):
        judge(book_test.one_attempt_too_many.__wrapped__, pair, "correct")


def test_an_observation_that_never_ends_is_refused(tmp_path: Path) -> None:
    """A proof has a limit of time, and says so."""

    async def forever(half: ModuleType) -> bool:
        import asyncio

        await asyncio.Event().wait()
        return True

    with pytest.raises(Exception, match=r"no answer within 0\.1 s"):
        judge(forever, pair_after(tmp_path), "incorrect", limit=0.1)
