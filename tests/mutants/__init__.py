"""Would the checker notice? A small correct book, and what happens when it is spoilt."""

import shutil
from pathlib import Path

BOOK = Path(__file__).parent / "book"


def copy_book(root: Path) -> Path:
    """Copy the book to `root`, which does not exist yet.

    Its SKILL.md has another name in the repository, so that no installer takes it for a skill.
    """
    shutil.copytree(BOOK, root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "skill-page.txt").rename(root / "SKILL.md")
    return root
