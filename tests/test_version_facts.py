"""scripts/version_facts.py: releases in order, and facts that a test and a page stand behind."""

import ast
import itertools

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from rulebook.errors import read_errors
from rulebook.parse import slug
from tests import test_versions
from tests.harness import ROOT, pages
from tests.test_lockfiles import script

facts = script("version_facts")
TEXT = """
    0 0.0 0.106 0.106.0 0.117.1 0.118 0.121.0rc1 0.121 0.121.0.post1 0.165.0 1 1.0 1.0.0 1.0.dev1
    1.0.dev 1.0a1.dev2 1.0a1 1.0a1.post2.dev3 1.0a1.post2 1.0a2 1.0alpha3 1.0b1 1.0-beta.2 1.0c1
    1.0rc1 1.0-rc2 1.0preview3 1.0.post1.dev4 1.0.post1 1.0-1 1.0-r2 1.0rev3 1.0+local 1.0+local.1
    1.0+1 1.0+1.a 1.0+a-b_c v1.1 V1.1RC1 1.10 1.9 2.1.9 2.1.0b1 2.0.58 10.0 2024.11.3 1!0.1 1!1.0
    1!1.0.dev1 2!0 3.14.4 3.14.10 3.14.4rc0
"""
VERSIONS = TEXT.split()
NO_VERSIONS = ["", "*", "1.x", "==1.0", "1.0-", "1..0", "main", "1.0+", "1.0!2", "^1.0", "9" * 5000]


def defined(place: str) -> bool:
    """Whether the file of `path::function` defines the function at its top."""
    path, _, name = place.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return name in {each.name for each in functions}


def known_names() -> set[str]:
    """Every name a fact may have: traps, notes and pairs of rules, entries of the error index."""
    named = {
        f"{page.id}#{each.slug}"
        for page in pages().values()
        for each in (*page.claims, *page.pairs)
    }
    entries = read_errors(ROOT)[0]
    return named | {f"errors/{each.category}#{slug(each.fragment)}" for each in entries}


def test_versions_are_ordered_as_packaging_orders_them() -> None:
    """Each pair of a list compares alike: pre-releases, epochs, local parts, spellings."""
    differing = [
        (one, other)
        for one, other in itertools.product(VERSIONS, repeat=2)
        if (facts.version_key(one) < facts.version_key(other)) != (Version(one) < Version(other))
        or (facts.version_key(one) == facts.version_key(other)) != (Version(one) == Version(other))
    ]

    assert differing == []


@pytest.mark.parametrize("text", NO_VERSIONS, ids=lambda text: text[:8])
def test_what_is_no_version_has_no_place_in_the_order(text: str) -> None:
    """None, and neither older nor within anything."""
    found = facts.version_key(text), facts.older(text, "9"), facts.within(text, ">=0")

    assert found == (None, False, False)


@pytest.mark.parametrize("versions", sorted({fact.versions for fact in facts.FACTS}))
def test_ranges_hold_the_releases_that_packaging_finds_in_them(versions: str) -> None:
    """For final releases; a pre-release counts as what it is to become."""
    final = [each for each in VERSIONS if not Version(each).is_prerelease]

    assert [each for each in final if facts.within(each, versions)] == [
        each for each in final if SpecifierSet(versions).contains(Version(each).public)
    ]


def test_a_pre_release_behaves_as_its_release() -> None:
    """2.1.0b1 has what came with 2.1, though it sorts before 2.1."""
    assert (facts.within("2.1.0b1", ">=2.1"), facts.within("2.1.0b1", "<2.1")) == (True, False)


@pytest.mark.parametrize(
    ("spec", "lowest"),
    [
        (">=3.11", "3.11"),
        (">=3.11,<3.14", "3.11"),
        ("<4.0, >=3.12.1", "3.12.1"),
        ("^3.11", "3.11"),
        ("~=3.13.7", "3.13.7"),
        ("==3.12.*", "3.12"),
        (">=3.9,!=3.9.0,>=3.10", "3.10"),
        ("^3.9 || ^3.12", "3.9"),
        ("3.11.*", "3.11"),
        ("<3.13", None),
        ("*", None),
        ("", None),
    ],
)
def test_the_lowest_python_of_a_range_is_found(spec: str, lowest: str | None) -> None:
    """As PEP 440 and Poetry write ranges."""
    assert facts.lowest_python(spec) == lowest


@pytest.mark.parametrize("fact", facts.FACTS, ids=lambda each: f"{each.package}{each.versions}")
def test_a_page_and_a_test_stand_behind_each_fact(fact: object) -> None:
    """Its trap is on its page, and the file that it names defines the test."""
    assert (fact.trap in known_names(), defined(fact.test)) == (True, True)  # type: ignore[attr-defined]


def test_the_test_of_a_fact_is_about_its_trap() -> None:
    """The function's decorators, or else its file, name the page of the trap."""
    astray = []
    for fact in facts.FACTS:
        page = fact.trap.partition("#")[0].removeprefix("errors/")
        path = fact.test.partition("::")[0]
        text = (ROOT / path).read_text(encoding="utf-8")
        if f'"{page}"' not in text and page.replace("/", "/test_") not in path:
            astray.append((fact.trap, fact.test))

    assert astray == []


def test_the_pythons_that_are_proven_are_those_that_tests_run_on() -> None:
    """The lowest of the slow tests, and every other that they name."""
    marks = test_versions.test_the_proofs_hold_on_other_pythons.pytestmark  # type: ignore[attr-defined]
    others = next(mark.args[1] for mark in marks if mark.name == "parametrize")

    assert list(facts.PYTHONS) == ["3.11", *others]
