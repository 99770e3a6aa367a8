"""Links in HTML that we write: `data-page="tools.md#probe-py"` until every page is there.

Zensical rewrites the `href` of raw HTML, Material does not.
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from rulebook.site.book import SiteError
from rulebook.site.document import Document

HREF = re.compile(r'data-page="([^"#]*)(?:#([^"]*))?"')
ID = re.compile(r'\bid="([^"]+)"')


def href(path: str, anchor: str = "") -> str:
    """The attribute of a link to a page of the Markdown folder."""
    return f'data-page="{path}{"#" if anchor else ""}{anchor}"'


def resolve(site: Path, documents: Iterable[Document]) -> None:
    """Make every such link relative. Raises SiteError for one that leads nowhere."""
    addresses = {each.path: each.address for each in documents}
    texts = {
        path: (site / address / "index.html").read_text(encoding="utf-8")
        for path, address in addresses.items()
    }
    anchors = defaultdict(set, {path: set(ID.findall(text)) for path, text in texts.items()})
    for path, text in texts.items():
        here = f"/{addresses[path]}"

        def relative(match: re.Match[str], path: str = path, here: str = here) -> str:
            target, anchor = match[1], match[2] or ""
            if target not in addresses or (anchor and anchor not in anchors[target]):
                raise SiteError(f"{path}: links {target}#{anchor}, which no page has; mend it")
            if target == path and anchor:
                return f'href="#{anchor}"'
            away = posixpath.relpath(f"/{addresses[target]}", here)
            return f'href="{away}/{"#" if anchor else ""}{anchor}"'

        (site / addresses[path] / "index.html").write_text(HREF.sub(relative, text), "utf-8")
