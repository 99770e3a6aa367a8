"""The pages of a built site as their files say they are, without a browser."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

LINKS = {"a": "href", "link": "href", "script": "src", "img": "src", "source": "src"}
LOC = "{http://www.sitemaps.org/schemas/sitemap/0.9}loc"


@dataclass(frozen=True)
class Document:
    """What one page holds that others rely on."""

    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    meta: dict[str, str] = field(default_factory=dict)
    rel: dict[str, str] = field(default_factory=dict)
    titles: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.document = Document()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if found.get("id"):
            self.document.ids.append(found["id"])
        if tag in LINKS and LINKS[tag] in found:
            self.document.links.append(found[LINKS[tag]])
        if tag == "meta":
            name = found.get("name") or found.get("property") or ""
            self.document.meta[name] = found.get("content", "")
        if tag == "link":
            self.document.rel[found.get("rel", "")] = found.get("href", "")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "title" and data.strip():
            self.document.titles.append(data.strip())


@dataclass(frozen=True)
class Site:
    """A built site: its folder, the address it was built for, and the source's address."""

    folder: Path
    address: str
    repository: str

    @property
    def missing(self) -> str:
        """The page for what is not there."""
        return f"{self.address}404.html"

    def addresses(self) -> list[str]:
        """Every page, as the sitemap lists them."""
        tree = ElementTree.parse(self.folder / "sitemap.xml")  # noqa: S314 - we built it
        return [str(loc.text) for loc in tree.iter(LOC)]

    def markdown(self, address: str) -> str:
        """Where a page stands as text."""
        return f"{address}index.md"

    def file(self, address: str) -> Path | None:
        """The file served at an address of this site; None when there is none."""
        path = unquote(urlsplit(address).path).removeprefix(urlsplit(self.address).path)
        found = self.folder / path
        if found.is_dir():
            found = found / "index.html"
        return found if found.is_file() else None

    def read(self, address: str) -> Document:
        """The page at an address."""
        found = self.file(address)
        assert found is not None, f"the sitemap lists {address}, where nothing is"
        reader = _Reader()
        reader.feed(found.read_text(encoding="utf-8"))
        return reader.document
