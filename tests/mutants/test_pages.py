"""Spoil a small correct book in one place, and see the checker name that place's fault."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from rulebook.check import check
from rulebook.cli import main
from tests.mutants import copy_book

RULE = "rules/demo/retries.md"
TEST = "tests/rules/demo/test_retries.py"
ERRORS = "errors/demo.md"
TEXTS = "tests/errors/demo/test_texts.py"
PROBE = "scripts/probes/circles.py"
CHECK = "scripts/checks/demo/retries.py"
CASES = "tests/checks/demo/retries.md"
FENCE = "```python\nimport asyncio"
LABEL = "**Correct** - as many as asked for:"
LIMIT = "```python\ndef attempts(limit: int) -> list[int]:\n    return list(range(limit))\n```"


@dataclass(frozen=True)
class Mutant:
    """Replace `old` by `new`, once, in a file of the book; the checker must say `complaint`."""

    name: str
    file: str
    old: str
    new: str
    complaint: str


MUTANTS = [
    Mutant("unlabelled block", RULE, LABEL, "As many as asked for:", "block without a label"),
    Mutant("py tag", RULE, FENCE, FENCE.replace("python", "py", 1), "fence is tagged 'py'"),
    Mutant(
        "attribute", RULE, FENCE, FENCE.replace("python", 'python title="x"', 1), 'python title="x"'
    ),
    Mutant("indented block", RULE, LIMIT, "    def attempts() -> None: ...", "indented code block"),
    Mutant(
        "nested fence", RULE, LIMIT, "- x\n\n  ```python\n  x = 1\n  ```", "fence that is indented"
    ),
    Mutant(
        "tilde fence", RULE, LIMIT, LIMIT.replace("```", "~~~"), "fence that is indented or not"
    ),
    Mutant("hidden block", RULE, LIMIT, f"{LIMIT}\n<!--\n```python\n-->", "fence lines for"),
    Mutant(
        "unknown language",
        RULE,
        "## Traps\n",
        "```perl\n1;\n```\n\n## Traps\n",
        "no check for 'perl'",
    ),
    Mutant("half missing", RULE, f"{LABEL}\n\n{LIMIT}", "", "pair without a correct half"),
    Mutant("identical halves", RULE, "range(limit + 1)", "range(limit)", "the same program"),
    Mutant("not Python", RULE, "range(limit))", "range(limit)", "not Python"),
    Mutant(
        "block that fails",
        RULE,
        "range(limit))\n",
        "range(limit))\n\n\n1 / 0\n",
        "ZeroDivisionError",
    ),
    Mutant("type error", RULE, "range(limit))\n", "str(limit))\n", "[arg-type]"),
    Mutant("ruff report", RULE, FENCE, f"{FENCE}\nimport os", "[F401]"),
    Mutant("ruff layout", RULE, "range(limit))", "range( limit ))", "ruff would reformat"),
    Mutant("wrong lint code", RULE, "E722", "RUF006", "RUF006 misses the incorrect half"),
    Mutant(
        "lint for no pair", RULE, "lint: {retry-loops", "lint: {no-such-pair", "lint names no pair"
    ),
    Mutant("pair without proof", RULE, "## Count attempts", "## Count more", "has no proof"),
    Mutant("trap without test", RULE, "**A closed circle.‡**", "**An open one.**", "has no test"),
    Mutant(
        "trap without a lead", RULE, "**A closed circle.‡**", "A circle.", "without a bold lead"
    ),
    Mutant("text never produced", ERRORS, "## cannot", "## you cannot", "produced by no test"),
    Mutant("text not as seen", ERRORS, "## cannot", "## you cannot", "does not occur in Seen"),
    Mutant("field missing", ERRORS, "- *Do*: Open it first.\n", "", "write Seen, Cause, Do, Rule"),
    Mutant("field unknown", ERRORS, "- *Do*: Open", "- *Try*: Open", "has Seen, Cause, Try, Rule"),
    Mutant("loose line", ERRORS, "- *Do*: Open", "Do open", "not a field of an entry"),
    Mutant("dead rule link", ERRORS, "#a-closed-circle)", "#an-oval)", "links what is not there"),
    Mutant("link by another name", ERRORS, "[demo/retries#", "[retries#", "calls its link"),
    Mutant("no rule", ERRORS, "*Rule*: none", "*Rule*: some", "leads to no rule"),
    Mutant("text is markup", ERRORS, "## cannot", "## *can*not", "reads otherwise once rendered"),
    Mutant("text too short", ERRORS, "## cannot join a closed circle\n", "## cannot\n", "6 chara"),
    Mutant("Seen as prose", ERRORS, "friends`\n", "friends\n", "Seen is not code"),
    Mutant("one text twice", ERRORS, "circle of friends\n-", "circle\n-", "has a second entry"),
    Mutant(
        "text in another", ERRORS, "`cannot join a closed circle of friends` is", "It is", "is part"
    ),
    Mutant("producer of nothing", TEXTS, '"demo", "cannot', '"demo", "can', "what does not exist"),
    Mutant("proof of nothing", TEST, '"count-attempts"', '"count-other"', "what does not exist"),
    Mutant(
        "check of nothing", CHECK, "def retry_loops", "def retry", "has no trap or pair 'retry'"
    ),
    Mutant("probe of nothing", PROBE, "#a-closed-circle", "#an-oval", "no trap or pair 'an-oval'"),
    Mutant("no true case", CASES, "  # finding: except ConnectionError:", "", "has no true case"),
    Mutant(
        "no safe case", CASES, "\nexcept ConnectionError:", "\nexcept:  # finding: x", "no safe"
    ),
    Mutant("cases of no check", CASES, "## retry", "## first\n\n## retry", "no check is called"),
    Mutant("second proof", TEST, '"count-attempts"', '"retry-loops"', "a second test proves"),
    Mutant("test that cannot fail", TEST, 'assert not "".join([])', "pass", "asserts nothing"),
    Mutant("spelled text", TEXTS, '" + "', "", "spells the symptom itself"),
    Mutant(
        "test without docstring", TEST, '"""A circle has no end to join."""', "", "no docstring"
    ),
    Mutant(
        "unknown field",
        RULE,
        "impact: HIGH",
        "impact: HIGH\nseverity: 1",
        "'severity' was unexpected",
    ),
    Mutant("impact by feeling", RULE, "impact: HIGH", "impact: AWFUL", "is not one of"),
    Mutant("broken YAML", RULE, '{python: ">=3.11"}', '{python: ">=3.11"', "broken YAML"),
    Mutant(
        "repeated field", RULE, "impact: HIGH", "impact: HIGH\nimpact: HIGH", "repeats the field"
    ),
    Mutant("no frontmatter", RULE, "---\ntitle", "title", "has no frontmatter"),
    Mutant("title not repeated", RULE, "\n# Retry", "\n# Repeat", "heading is not the title"),
    Mutant("section missing", RULE, "## When not to", "## Whenever", "sections besides the pairs"),
    Mutant("dead link", RULE, "(https://docs", "(../../docs", "link to a missing file"),
    Mutant("insecure link", RULE, "(https://", "(http://", "link to http://"),
    Mutant("over budget", RULE, "A supervisor", "A supervisor " * 2800, "tokens; cut it to 2800"),
    Mutant("stale index", "SKILL.md", "code repeats", "code retries", "generated text is stale"),
    Mutant(
        "field not in the specification",
        "SKILL.md",
        "license:",
        "model: x\nlicense:",
        "'model' is not",
    ),
    Mutant("version as a number", "SKILL.md", '"0.0.0"', "1.0", "more than strings"),
    Mutant("rule not linked", "SKILL.md", "](rules/", "](https://rules/", "does not link"),
    Mutant(
        "SKILL.md over budget", "SKILL.md", "# A book", "# " + "A book " * 1200, "SKILL.md body"
    ),
]


@pytest.fixture(scope="session")
def type_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One mypy cache for all copies of the book."""
    return tmp_path_factory.mktemp("type_cache")


@pytest.fixture
def book(tmp_path: Path, type_cache: Path) -> Path:
    """A fresh copy of the book, its generated parts built."""
    root = copy_book(tmp_path / "book")
    (root / ".cache").symlink_to(type_cache)
    assert main(["build", "--root", str(root)]) == 0
    return root


def complaints(root: Path) -> list[str]:
    return [f"{each.message}; {each.hint}" for each in check(root).findings]


def test_the_book_draws_no_complaint(book: Path) -> None:
    """The unspoilt book is clean, so that whatever a mutant draws is its own."""
    assert complaints(book) == []


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_spoilt_page_is_named(book: Path, mutant: Mutant) -> None:
    """Each fault draws its own complaint."""
    path = book / mutant.file
    text = path.read_text(encoding="utf-8")
    assert mutant.old in text, "the mutant changes nothing"
    path.write_text(text.replace(mutant.old, mutant.new, 1), encoding="utf-8")

    assert any(mutant.complaint in each for each in complaints(book))


def test_an_empty_folder_is_a_complaint(book: Path) -> None:
    """No rule at all is not a clean book."""
    shutil.rmtree(book / "rules")

    assert any("holds no rule" in each for each in complaints(book))


def test_a_file_that_is_not_utf8_is_a_complaint(book: Path) -> None:
    """A page in another encoding is named with the line, not with a traceback."""
    (book / RULE).write_bytes(b"---\ntitle: caf\xe9\n---\n")

    assert any("is not UTF-8" in each for each in complaints(book))


def test_a_missing_skill_is_a_complaint(book: Path) -> None:
    """Without SKILL.md nothing can be loaded."""
    (book / "SKILL.md").unlink()

    assert any("cannot be read" in each for each in complaints(book))


def test_floors_that_differ_are_a_complaint(book: Path) -> None:
    """Two rules cannot demand two floors of one package."""
    text = (book / RULE).read_text(encoding="utf-8")
    other = book / "rules" / "demo" / "other.md"
    other.write_text(text.replace('">=3.11"', '">=3.12"'), encoding="utf-8")

    assert any("requires python" in each for each in complaints(book))
