"""scripts/review.py on what is hardly Python any more: it says so, and goes on."""

import random
from pathlib import Path

import pytest

from tests.harness import ROOT
from tests.harness.cases import cases, reviewer


def mutated(source: str, dice: random.Random) -> str:
    """Cut, repeat, swap or spoil a piece of a source."""
    lines = source.split("\n")
    for _ in range(dice.randint(1, 4)):
        one, other = sorted(dice.choices(range(len(lines)), k=2))
        match dice.randint(0, 5):
            case 0:
                del lines[one : one + 2]
            case 1:
                lines[one:one] = lines[one : other + 1][:20]
            case 2:
                lines[one], lines[other] = lines[other], lines[one]
            case 3:
                lines[one] = lines[one].lstrip()
            case 4:
                words = lines[one].split(" ")
                dice.shuffle(words)
                lines[one] = " ".join(words)
            case _:
                lines[one] = lines[one].replace(dice.choice("(),.:=[]*"), dice.choice("(),.:=[]*"))
        lines = lines or [""]
    return "\n".join(lines)


def fuzzed(folder: Path, count: int) -> list[str]:
    """Review so many mutated files; return what a check could not do with them."""
    dice = random.Random(count)  # noqa: S311 - mutations that can be repeated
    sources = [code for case in cases() for _, code in case.files]
    sources += [path.read_text("utf-8") for path in sorted((ROOT / "examples").rglob("*.py"))]
    files = {}
    for number in range(count):
        path = folder / f"m{number}.py"
        path.write_text(mutated(dice.choice(sources), dice), encoding="utf-8")
        files[path.name] = path
    result = reviewer().review(files, files)
    return [each.message for each in result.unread if "could not be looked for" in each.message]


@pytest.mark.parametrize(
    "count", [300, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_no_mutated_file_is_too_much_for_a_check(tmp_path: Path, count: int) -> None:
    """Whatever parses is reviewed; what does not is said."""
    assert fuzzed(tmp_path, count) == []
