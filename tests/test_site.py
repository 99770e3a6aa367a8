"""The site's renderer, on a small book; tests/site looks at the real one in a browser."""

import json
import re
from html import unescape

import pytest

from rulebook.cli import main
from rulebook.site.book import Book, SiteError, read_book
from rulebook.site.build import run_generator
from rulebook.site.code import code, differing
from rulebook.site.errors import error_document, index_document
from rulebook.site.links import href
from rulebook.site.lookup import lookup
from rulebook.site.pages import rules_document
from rulebook.site.plain import plain_files
from rulebook.site.rules import rule_document
from tests.harness.smallbook import REPOSITORY, URL, small_book


@pytest.fixture
def book(tmp_path) -> Book:
    return small_book(tmp_path / "book")


def test_lines_of_one_half_alone_differ():
    """A changed line is marked on both sides, an added one on its side."""
    marks = differing("a\nb\nc\n", "a\nB\nc\nd\n")

    assert marks == (frozenset({1}), frozenset({1, 3}))


def test_whitespace_makes_no_difference():
    """A line that only moved to the right is the same line."""
    marks = differing("if x:\n    y()\n", "if x:\n        y()\n\n")

    assert marks == (frozenset(), frozenset())


def test_code_can_be_copied_as_it_is():
    """The text inside the markup is the code, blank lines and brackets included."""
    source = 'first = "<a>"\n\n\nsecond = x[0](1)\n'
    shown = code(source, "python", frozenset({0}))

    assert unescape(re.sub(r"<[^>]+>", "", shown)) == source


def test_a_rule_page_shows_when_to_read_it(book):
    """What stands in the frontmatter alone is on the page."""
    text = rule_document(book, book.rules["demo/retries"]).text

    assert "**Read this when** code repeats a call that failed." in text


def test_a_rule_page_names_the_test_of_a_pair(book):
    """The test that told the halves apart stands under them, with what it looked for."""
    text = rule_document(book, book.rules["demo/retries"]).text

    assert "A task cancelled once goes on to fetch again." in text


def test_a_rule_page_shows_values_that_differ(book):
    """Of what a test recorded, the values that tell the halves apart are shown."""
    folder = book.root / ".cache" / "evidence" / "demo" / "retries"
    folder.mkdir(parents=True)
    for verdict, calls in (("incorrect", "2"), ("correct", "1")):
        content = {"python": "3.11.7", "seen": {"calls": calls, "same": "0"}}
        (folder / f"retry-loops.{verdict}.json").write_text(json.dumps(content))
    text = rule_document(book, book.rules["demo/retries"]).text

    assert ("<code>2</code>" in text, ">same<" in text) == (True, False)


def test_a_trap_is_a_heading_with_its_name(book):
    """The address of a trap is the name that the tools print."""
    text = rule_document(book, book.rules["demo/retries"]).text

    assert "### A closed circle { #a-closed-circle }" in text


def test_a_rule_page_lists_its_error_texts(book):
    """Each error text that leads to the rule is a link to its entry."""
    text = rule_document(book, book.rules["demo/retries"]).text

    assert href("errors/demo.md", "cannot-join-a-closed-circle") in text


def test_an_error_is_a_heading_with_an_address(book):
    """The fragment is the heading, its words the address."""
    text = error_document(book, "demo").text

    assert "## `cannot join a closed circle` { #cannot-join-a-closed-circle }" in text


def test_an_error_text_that_another_names_is_a_link(book):
    """An entry that speaks of another one leads to it."""
    text = error_document(book, "demo").text

    assert (
        "[`cannot join a closed circle of friends`](#cannot-join-a-closed-circle-of-friends)"
        in text
    )


def test_two_texts_of_one_address_are_refused(book):
    """Two fragments of the same words would share an address."""
    path = book.root / "errors" / "demo.md"
    path.write_text(path.read_text() + "\n## cannot join a closed: circle\n- *Seen*: `x`\n")

    with pytest.raises(SiteError, match=r"demo.md:15: .* choose other words"):
        read_book(book.root, URL, REPOSITORY)


def test_the_search_knows_a_text_as_explain_does(book):
    """Each error text is found by its fragment."""
    pieces = json.loads(lookup(book, [error_document(book, "demo")]))

    assert [each["spelt"] for each in pieces] == [[entry.fragment] for entry in book.entries]


def test_the_search_leads_from_a_text_to_the_trap(book):
    """A trap is found by the error texts that lead to it."""
    pieces = json.loads(lookup(book, [rule_document(book, book.rules["demo/retries"])]))
    found = {each["title"]: each.get("errors") for each in pieces}

    assert found["A closed circle"] == "cannot join a closed circle"


def test_llms_txt_links_the_markdown_of_each_page(book):
    """Its links are absolute."""
    rule = rule_document(book, book.rules["demo/retries"])
    files = plain_files(book, [rule, index_document(book), rules_document(book)])

    assert f"({URL}rules/demo/retries/index.md): code repeats a call" in files["llms.txt"]


@pytest.mark.slow
def test_a_generators_warnings_are_named_in_short(tmp_path):
    """Each fault is a line: the page, its line and what is wrong."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Start\n\n[x](gone.md)\n")
    (tmp_path / "mkdocs.yml").write_text("site_name: x\n")

    with pytest.raises(SiteError, match=r"^index.md:3:5: page does not exist$"):
        run_generator(tmp_path)


def test_a_folder_of_somebody_else_is_refused(tmp_path, capsys):
    """A folder with other files stays as it is."""
    (tmp_path / "mine.txt").write_text("mine")

    assert (main(["site", str(tmp_path)]), (tmp_path / "mine.txt").read_text()) == (2, "mine")


@pytest.mark.slow
def test_the_site_replaces_an_earlier_one(tmp_path):
    """What an earlier build wrote goes; `.git` stays; a file that nobody wrote here is refused."""
    folder, git = tmp_path / "site", tmp_path / "site" / ".git" / "HEAD"
    main(["site", str(folder)])
    (folder / "tools" / "index.html").write_text("old")
    git.parent.mkdir()
    git.write_text("ref")
    replaced = main(["site", str(folder)])
    (folder / "CNAME").write_text("docs.example")
    refused = main(["site", str(folder)])

    assert (replaced, refused, git.read_text()) == (0, 2, "ref")
    assert (folder / "tools" / "index.html").read_text() != "old"
    assert (folder / "CNAME").exists()


@pytest.mark.parametrize("option", ["--url", "--repository"])
def test_what_is_no_address_is_misuse(tmp_path, option):
    """It would become the canonical address of every page."""
    assert main(["site", str(tmp_path / "site"), option, "nonsense"]) == 2
