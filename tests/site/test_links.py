"""Every link and address of the built site, read from its files."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
from markdown_it import MarkdownIt

from tests.harness import ROOT
from tests.site.documents import Document, Site

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def documents(site: Site) -> dict[str, Document]:
    """Every page by its address."""
    return {address: site.read(address) for address in [*site.addresses(), site.missing]}


def targets(documents: dict[str, Document]) -> Iterator[tuple[str, str]]:
    """Each page's address with each absolute address it links to."""
    for address, document in documents.items():
        for link in document.links:
            yield address, urljoin(address, link)


def written(path: Path) -> list[str]:
    """The links of a Markdown file, those in code left out."""
    tokens = MarkdownIt("commonmark").parse(path.read_text(encoding="utf-8"))
    children = [child for token in tokens for child in token.children or ()]
    return [str(child.attrs["href"]) for child in children if child.type == "link_open"]


def test_the_sitemap_lists_every_page(site: Site) -> None:
    """No page is unlisted, and none is listed that is not there."""
    built = {
        urljoin(site.address, path.relative_to(site.folder).parent.as_posix() + "/")
        for path in site.folder.rglob("index.html")
    }

    assert {urljoin(address, ".") for address in site.addresses()} == built


def test_every_internal_link_resolves(site: Site, documents: dict[str, Document]) -> None:
    """What a page links to on this site is there, and so is the place on it."""
    broken = []
    for address, target in targets(documents):
        if not target.startswith(site.address):
            continue
        place, fragment = urldefrag(target)
        if site.file(place) is None:
            broken.append(f"{address}: {target} is not there")
        elif place in documents and unquote(fragment) not in {"", *documents[place].ids}:
            broken.append(f"{address}: {target} has no such place")

    assert broken == []


def test_every_search_result_resolves(site: Site, documents: dict[str, Document]) -> None:
    """What the search offers is a page, and a place on it."""
    pieces = json.loads((site.folder / "search.json").read_text(encoding="utf-8"))
    targets = [urldefrag(urljoin(site.address, piece["url"])) for piece in pieces]

    assert targets
    assert [
        target.url + "#" + target.fragment
        for target in targets
        if unquote(target.fragment) not in {"", *documents[target.url].ids}
    ] == []


def test_every_other_link_is_secure(site: Site, documents: dict[str, Document]) -> None:
    """What leads away is https; nothing is left of a relative link that climbs out."""
    away = [pair for pair in targets(documents) if not pair[1].startswith(site.address)]

    assert [pair for pair in away if not pair[1].startswith(("https://", "data:"))] == []


def test_every_link_into_the_repository_names_a_file(
    site: Site, documents: dict[str, Document]
) -> None:
    """Tests and files that pages link to exist on the branch that they name."""
    prefix = re.compile(re.escape(site.repository) + "/(?:blob|tree|raw)/main/([^#?]*)")
    named = {match[1] for _, target in targets(documents) if (match := prefix.match(target))}

    assert named
    assert sorted(name for name in named if not (ROOT / unquote(name)).exists()) == []


def test_no_address_on_a_page_is_used_twice(documents: dict[str, Document]) -> None:
    """A link to a place has one place to go."""
    twice = [
        f"{address}#{name}"
        for address, document in documents.items()
        for name in set(document.ids)
        if document.ids.count(name) > 1
    ]

    assert twice == []


def test_every_page_has_its_markdown(site: Site, documents: dict[str, Document]) -> None:
    """An assistant gets each page as text, under the address that llms.txt gives."""
    listed = written(site.folder / "llms.txt")
    pages = {site.markdown(address) for address in site.addresses()}

    assert pages - set(listed) == set()


@pytest.mark.parametrize("name", ["llms.txt", "llms-full.txt", "*.md"])
def test_links_in_the_texts_resolve(site: Site, name: str) -> None:
    """A link in what an assistant fetches leads somewhere, from where it was fetched."""
    paths = sorted(site.folder.rglob(name))
    broken = []
    for path in paths:
        address = urljoin(site.address, path.relative_to(site.folder).as_posix())
        for link in written(path):
            target = urldefrag(urljoin(address, link))[0]
            if urlsplit(target).scheme not in ("http", "https"):
                broken.append(f"{address}: {link}")
            elif target.startswith(site.address) and site.file(target) is None:
                broken.append(f"{address}: {link} is not there")

    assert paths
    assert broken == []
