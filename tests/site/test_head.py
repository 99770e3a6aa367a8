"""What search engines and link previews are told about each page."""

from collections import Counter
from urllib.parse import urljoin

import pytest

from tests.site.documents import Document, Site

pytestmark = pytest.mark.slow

SHORTEST, LONGEST = 40, 200  # of a description: what a result page shows


@pytest.fixture(scope="module")
def documents(site: Site) -> dict[str, Document]:
    """Every page by its address."""
    return {address: site.read(address) for address in site.addresses()}


def repeated(texts: list[str]) -> list[str]:
    return [text for text, count in Counter(texts).items() if count > 1 or not text]


def test_each_page_has_a_title_of_its_own(documents: dict[str, Document]) -> None:
    """Two tabs, two results, two bookmarks are told apart."""
    assert repeated([" ".join(document.titles) for document in documents.values()]) == []


def test_each_page_has_a_description_of_its_own(documents: dict[str, Document]) -> None:
    """The line under a search result says what is on this page."""
    assert repeated([document.meta.get("description", "") for document in documents.values()]) == []


def test_descriptions_fit_a_result(documents: dict[str, Document]) -> None:
    """Long enough to say something, short enough to be shown."""
    lengths = {
        address: len(document.meta.get("description", ""))
        for address, document in documents.items()
    }

    assert {k: n for k, n in lengths.items() if not SHORTEST <= n <= LONGEST} == {}


def test_the_canonical_address_is_the_address(documents: dict[str, Document]) -> None:
    """A page read through a mirror names the place it belongs to."""
    found = {address: document.rel.get("canonical") for address, document in documents.items()}

    assert found == {address: address for address in documents}


def test_a_link_preview_says_what_the_page_says(documents: dict[str, Document]) -> None:
    """Open Graph names the page, its address and its description."""
    wrong = [
        address
        for address, document in documents.items()
        if not document.meta.get("og:title")
        or document.meta.get("og:url") != address
        or document.meta.get("og:description") != document.meta.get("description")
    ]

    assert wrong == []


def test_the_missing_page_is_not_indexed(site: Site) -> None:
    """No search engine lists what stands for nothing."""
    assert "noindex" in site.read(site.missing).meta.get("robots", "")


def test_robots_are_shown_the_sitemap(site: Site) -> None:
    """Whoever may crawl learns where the pages are listed."""
    told = (site.folder / "robots.txt").read_text(encoding="utf-8").splitlines()

    assert f"Sitemap: {urljoin(site.address, 'sitemap.xml')}" in told
