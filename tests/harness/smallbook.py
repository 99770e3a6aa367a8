"""A repository of one rule, for tests of the site's renderer."""

import shutil
from pathlib import Path

from rulebook.site.book import Book, read_book

BOOK = Path(__file__).parents[1] / "mutants" / "book"
URL, REPOSITORY = "https://docs.test/skill/", "https://code.test/skill"
RULE = "rules/demo/retries.md"


def small_book(root: Path) -> Book:
    """Write the repository, with a page by hand, and read it."""
    shutil.copytree(BOOK, root)
    (root / "MANIFEST.json").write_text('{"verified": {"fastapi": "0.165.0"}}')
    (root / "site" / "pages").mkdir(parents=True)
    (root / "site" / "pages" / "index.md").write_text("# Start\n\nBegin here.\n")
    for name in ("CHANGELOG", "CONTRIBUTING"):
        (root / f"{name}.md").write_text(
            f"# {name.capitalize()}\n\nNothing yet.\n\n## How\n\nLike this.\n"
        )
    return read_book(root, URL, REPOSITORY)
