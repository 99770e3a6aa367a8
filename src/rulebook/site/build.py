"""Render the pages, let the site generator build them strictly, write the result."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from rulebook.folder import files_in, replace
from rulebook.site.book import Book, SiteError, read_book
from rulebook.site.document import Document, front
from rulebook.site.errors import error_document, index_document, title_of
from rulebook.site.links import resolve
from rulebook.site.lookup import lookup
from rulebook.site.pages import rules_document, written_documents
from rulebook.site.plain import plain_files
from rulebook.site.rules import rule_document

MARKER = ".python-backend-site"
WARNING = re.compile(r"Warning: (.+)\n.*\[ (\S+) \]")
MOST_FAULTS = 20  # shown
ANSI = re.compile(r"\x1b\[[0-9;]*m")
# The generator's own look, which no page of ours uses.
UNUSED = ("assets/javascripts", "assets/stylesheets", "assets/images")


class UseError(Exception):
    """The command cannot do its work here; the message says what to do."""


def build(root: Path, folder: Path, url: str, repository: str) -> int:
    """Write the site into `folder` and return its number of pages.

    Raises UseError when it may not be written there, SiteError when a page has a fault.
    """
    _refuse_foreign(folder)
    for address in (url, repository):
        if not re.match(r"https?://[^/\s]+", address):
            raise UseError(f"{address}: is no address; begin it with https://")
    if find_spec("zensical") is None:
        raise UseError("zensical is missing; run `pip install -r requirements-test.txt`")
    book = read_book(root, url, repository)
    with tempfile.TemporaryDirectory(prefix="python-backend-site-") as scratch:
        work = Path(scratch)
        documents = write_sources(book, work)
        run_generator(work)
        site = work / "site"
        resolve(site, documents)
        for name in UNUSED:
            shutil.rmtree(site / name, ignore_errors=True)
        for name, text in plain_files(book, documents).items():
            (site / name).write_text(text, encoding="utf-8")
        (site / "search.json").write_text(lookup(book, documents), encoding="utf-8")
        written = sorted(path.relative_to(site).as_posix() for path in files_in(site))
        (site / MARKER).write_text("\n".join([*written, MARKER, ""]), encoding="utf-8")
        replace(folder, lambda fresh: shutil.copytree(site, fresh))
    return len(documents)


def write_sources(book: Book, work: Path) -> list[Document]:
    """Write what a generator needs: docs/, theme/ and mkdocs.yml."""
    docs = work / "docs"
    docs.mkdir()
    documents = [
        *written_documents(book, docs),
        rules_document(book),
        *(rule_document(book, rule) for rule in book.rules.values()),
        index_document(book),
        *(error_document(book, Path(each).stem) for each in book.error_pages),
    ]
    for each in documents:
        path = docs / each.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(front(each), encoding="utf-8")
    shutil.copytree(book.root / "site" / "theme", work / "theme")
    config = yaml.safe_load((book.root / "site" / "mkdocs.yml").read_text(encoding="utf-8"))
    config |= {"site_url": book.url, "repo_url": book.repository, "nav": _nav(book, documents)}
    (work / "mkdocs.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return documents


def run_generator(work: Path) -> None:
    """Build `work` into `work/site`. Raises SiteError with the generator's words on a warning."""
    result = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=work,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = ANSI.sub("", result.stdout + result.stderr)
    if result.returncode or "Warning" in said:
        faults = [f"{place}: {what}" for what, place in WARNING.findall(said)]
        if len(faults) > MOST_FAULTS:
            faults[MOST_FAULTS:] = [f"and {len(faults) - MOST_FAULTS} more"]
        raise SiteError("\n".join(faults) or said.strip())


def _refuse_foreign(folder: Path) -> None:
    """Raise UseError for a folder that holds more than a site of this command and `.git`."""
    if folder.exists() and not folder.is_dir():
        raise UseError(f"{folder}: is not a folder; choose another")
    marker = folder / MARKER
    written = marker.read_text(encoding="utf-8").splitlines() if marker.exists() else []
    for path in files_in(folder):
        if path.relative_to(folder).as_posix() not in written:
            raise UseError(f"{path}: was not put there by this command; choose another folder")


def _nav(book: Book, documents: list[Document]) -> list[dict[str, Any]]:
    titles = {each.path: each.title for each in documents}

    def group(folder: str, category: str) -> list[dict[str, str]]:
        names = [path for path in titles if path.startswith(f"{folder}/{category}/")]
        return [{Path(path).stem.replace("-", " "): path} for path in names]

    rules = [{each: group("rules", each)} for each in book.categories]
    errors = [
        {title_of(Path(path).stem): path}
        for path in titles
        if path.startswith("errors/") and path != "errors/index.md"
    ]
    nav: list[dict[str, Any]] = [
        {"Home": "index.md"},
        {"Rules": [{"Rules": "rules/index.md"}, *rules]},
        {"Errors": [{"Error texts": "errors/index.md"}, *errors]},
        {"Tools": "tools.md"},
        {"Example": "example.md"},
        {"Costs": "costs.md"},
        {"Proof": "proven.md"},
        {"Changelog": "changelog.md"},
        {"Contributing": "contributing.md"},
    ]
    return nav
