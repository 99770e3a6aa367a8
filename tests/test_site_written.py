"""The site's pages that a person wrote, and links: from page to page and into the repository."""

from pathlib import Path

import pytest

from rulebook.site.book import Book, SiteError
from rulebook.site.document import Document, absolute, relinked
from rulebook.site.fences import with_code
from rulebook.site.links import href, resolve
from rulebook.site.mentions import with_mentions
from rulebook.site.pages import written_documents
from tests.harness.smallbook import REPOSITORY, RULE, URL, small_book


@pytest.fixture
def book(tmp_path) -> Book:
    return small_book(tmp_path / "book")


def page(book: Book, text: str) -> Document:
    """The start page with this text."""
    (book.root / "site" / "pages" / "index.md").write_text(text)
    documents = written_documents(book, book.root / "docs")
    return next(each for each in documents if each.path == "index.md")


def built(book: Book, *documents: Document) -> Path:
    """A site of pages as a generator would leave it: an id is all they need."""
    site = book.root / "built"
    for each in documents:
        (site / each.address).mkdir(parents=True)
        (site / each.address / "index.html").write_text(each.text)
    return site


def document(path: str, text: str = "") -> Document:
    return Document(path, "Title", "Words.", text, text, {"kind": "text"})


def test_a_mention_inside_a_link_stays(book):
    """A link's own words are not made a second link."""
    text = "[the `cannot join a closed circle` text](x.md)"

    assert with_mentions(book, text, RULE) == text


def test_links_to_pages_become_links_between_pages(book):
    """From a rule to an error text, as its own page needs it."""
    text = relinked(book, "[x](../../errors/demo.md#y)", RULE, RULE)

    assert text == "[x](../../errors/demo.md#y)"


def test_links_to_files_become_links_into_the_repository(book):
    """A file that has no page is shown where the source is."""
    text = relinked(book, "[x](LICENSE)", "CHANGELOG.md", "changelog.md")

    assert text == f"[x]({REPOSITORY}/blob/main/LICENSE)"


def test_links_of_markdown_for_assistants_are_absolute(book):
    """They lead to the Markdown of the page they mean."""
    text = absolute(book, "[x](../../errors/demo.md#y)", RULE)

    assert text == f"[x]({URL}errors/demo/index.md#y)"


def test_a_dead_link_is_named_with_its_line(book):
    """A link to a file that is not there stops the build."""
    with pytest.raises(SiteError, match=r"site/pages/index.md:3: links gone.md"):
        page(book, "# Start\n\n[x](gone.md)\n")


def test_what_looks_like_a_link_in_code_is_none(book):
    """Code is shown as it is."""
    text = "`x[0](gone.md)`\n\n```python\nx[0](gone.md)\n```\n"

    assert relinked(book, text, "CHANGELOG.md", "changelog.md") == text


def test_a_link_in_markup_becomes_relative(book):
    """A page two folders down leads up to the folder of another."""
    documents = [document(RULE, f"<a {href('tools.md', 'x')}>"), document("tools.md", 'id="x"')]
    site = built(book, *documents)
    resolve(site, documents)

    assert (site / "rules/demo/retries/index.html").read_text() == '<a href="../../../tools/#x">'


def test_a_link_in_markup_to_no_anchor_is_refused(book):
    """An anchor that the other page lacks stops the build."""
    documents = [document(RULE, f"<a {href('tools.md', 'x')}>"), document("tools.md")]
    site = built(book, *documents)

    with pytest.raises(SiteError, match=r"links tools.md#x"):
        resolve(site, documents)


@pytest.mark.parametrize(
    ("insert", "shown"),
    [
        ("rules", "| [Retry what a second attempt can cure](rules/demo/retries.md) | HIGH |"),
        ("numbers", "1 rules hold 2 pairs"),
        ("pair demo/retries count-attempts", 'class="half correct"'),
        ("half demo/retries count-attempts incorrect", 'class="half incorrect"'),
        ("section CONTRIBUTING.md how", "Like this."),
        ("file LICENSE", f'<a href="{REPOSITORY}/blob/main/LICENSE">'),
    ],
)
def test_a_page_by_hand_holds_what_it_asks_for(book, insert, shown):
    """Each insert is replaced by what it names."""
    text = page(book, f"# Start\n\n<!-- insert {insert} -->\n").text

    assert shown in text


def test_a_picture_is_copied_and_shown_with_its_title(book):
    """A reader who cannot see it is told what it is."""
    (book.root / "costs.svg").write_text("<svg><title>Costs</title></svg>")
    text = page(book, "# Start\n\n<!-- insert picture costs.svg -->\n").text

    assert ("![Costs](pictures/costs.svg)" in text, list((book.root / "docs").rglob("*.svg"))) == (
        True,
        [book.root / "docs" / "pictures" / "costs.svg"],
    )


@pytest.mark.parametrize("insert", ["nothing", "half demo/retries gone correct", "file gone.py"])
def test_an_insert_of_what_is_not_there_is_named_with_its_line(book, insert):
    """A wrong name stops the build."""
    with pytest.raises(SiteError, match=r"site/pages/index.md:3: .*(no insert|cannot insert)"):
        page(book, f"# Start\n\n<!-- insert {insert} -->\n")


def test_the_fields_of_a_page_are_not_shown(book):
    """They describe the page to search engines."""
    made = page(book, "---\ndescription: About it.\n---\n\n# Start\n\nBegin.\n")

    assert (made.description, "About it." in made.text) == ("About it.", False)


def test_markdown_for_assistants_has_no_tags(book):
    """What only the HTML needs is left out."""
    made = page(book, '# Start\n\n<div class="a" markdown="1">\n\nBegin.\n\n</div>\n')

    assert made.plain.strip() == "# Start\n\nBegin."


def test_markdown_for_assistants_keeps_code_as_it_is(book):
    """Two blank lines in a block stay two."""
    made = page(book, "# Start\n\n```python\na = 1\n\n\nb = 2\n```\n")

    assert "a = 1\n\n\nb = 2" in made.plain


def test_a_page_names_the_repository_it_is_built_for(book):
    """The placeholder for the owner is filled in, in prose, code and description."""
    made = page(
        book, "# Start\n\n`OWNER/python-backend`\n\n```bash\nadd OWNER/python-backend\n```\n"
    )

    assert "code.test/skill" in made.text
    assert "OWNER" not in made.text + made.description


def test_a_terminal_links_the_traps_it_names(book):
    """A trap's name in a tool's output leads to the trap."""
    text = with_code(book, "```console\n$ review.py\nx [demo/retries#a-closed-circle]\n```\n")

    assert href(RULE, "a-closed-circle") in text
