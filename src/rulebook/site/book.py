"""What the site is made from, read once: rules, error texts, tests, what the tools find."""

import importlib
import json
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rulebook import checks, probes
from rulebook.errors import Entry, read_errors
from rulebook.evidence import Evidence, read_evidence
from rulebook.linters import Advice, advices
from rulebook.model import Claim, Page
from rulebook.parse import read_rules, slug
from rulebook.render import PROBE, REVIEW

PLACEHOLDER, PLACEHOLDER_SITE = "OWNER/python-backend", "OWNER.github.io/python-backend"
SCRIPT = re.compile(r"(?m)^## (\S+\.py)$")
LEAD = re.compile(rf"\*\*(.+?)[.{REVIEW}{PROBE}]*\*\*\s*", re.S)


class SiteError(Exception):
    """The site cannot be built; the message says where and what to do."""


@dataclass(frozen=True)
class Test:
    """A test that shows something: its name, its sentence, its address in the repository."""

    name: str
    says: str
    address: str


@dataclass(frozen=True)
class Book:
    """Everything the pages show, and the two addresses they link to."""

    root: Path
    url: str
    repository: str
    rules: dict[str, Page]
    entries: list[Entry]
    evidence: list[Evidence]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.root / "MANIFEST.json").read_text("utf-8"))
        return content

    @cached_property
    def reviewed(self) -> set[tuple[str, str]]:
        return checks.findings(self.root)

    @cached_property
    def probed(self) -> set[tuple[str, str]]:
        return probes.seen(self.root)

    @cached_property
    def advice(self) -> dict[str, list[Advice]]:
        """What linters say, by `category/rule#trap`."""
        found = defaultdict(list)
        for each in advices(self.rules):
            found[each.trap].append(each)
        return found

    @cached_property
    def texts(self) -> dict[str, list[Entry]]:
        """The error texts that lead to a trap or pair, by `category/rule#trap`."""
        found = defaultdict(list)
        for entry in self.entries:
            for rule, place in entry.rules:
                found[f"{rule}#{place}"].append(entry)
        return found

    @cached_property
    def tests(self) -> dict[tuple[str, str, str], list[Test]]:
        """The tests that prove, confirm or produce something, by kind, page and key."""
        found = defaultdict(list)
        for each in self.evidence:
            place = f"{each.path.relative_to(self.root).as_posix()}#L{each.line}"
            test = Test(each.test, each.says, self.source(place))
            found[each.kind, each.page, each.key].append(test)
        return found

    @cached_property
    def names(self) -> dict[str, str]:
        """The words of each heading and trap, by `category/rule#slug`."""
        found = {}
        for rule in self.rules.values():
            for heading in rule.headings:
                found[f"{rule.id}#{slug(heading.text)}"] = heading.text
            for claim in rule.claims:
                found[f"{rule.id}#{claim.slug}"] = lead(claim)[0]
        return found

    @cached_property
    def pages(self) -> dict[str, str]:
        """The site's page of each file of the repository that has one."""
        found = {"site/pages/index.md": "index.md"}
        found |= {"rules": "rules/index.md", "errors": "errors/index.md"}
        for path in [f"rules/{name}.md" for name in self.rules] + self.error_pages:
            found[path] = path
        for file in sorted((self.root / "site" / "pages").glob("*.md")):
            found[f"site/pages/{file.name}"] = file.name
        return found | {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}

    @cached_property
    def error_pages(self) -> list[str]:
        return [f"errors/{each}.md" for each in sorted({entry.category for entry in self.entries})]

    @cached_property
    def named(self) -> dict[str, tuple[str, str]]:
        """Page and anchor of what prose names in code: error texts, and scripts in tools.md."""
        found = {
            each.fragment: (f"errors/{each.category}.md", slug(each.fragment))
            for each in self.entries
        }
        tools = self.root / "site" / "pages" / "tools.md"
        names = SCRIPT.findall(tools.read_text(encoding="utf-8")) if tools.exists() else []
        return found | {name: ("tools.md", slug(name)) for name in names}

    @cached_property
    def categories(self) -> list[str]:
        return sorted({rule.category for rule in self.rules.values()})

    def addressed(self, text: str) -> str:
        """A text with this site's and repository's addresses in place of the placeholders."""
        name = "/".join(self.repository.split("/")[-2:])
        return text.replace(f"https://{PLACEHOLDER_SITE}/", self.url).replace(PLACEHOLDER, name)

    def source(self, path: str) -> str:
        """The address of a file or folder in the repository."""
        kind = "tree" if (self.root / path).is_dir() else "blob"
        return f"{self.repository}/{kind}/main/{path}"


def script(name: str) -> Any:
    """A module of scripts/, so that the site and the user's tools cannot differ."""
    folder = str(Path(__file__).resolve().parents[3] / "scripts")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


def lead(claim: Claim) -> tuple[str, str]:
    """The bold words a trap begins with, without marks of the tools, and the rest of its text."""
    match = LEAD.match(claim.text)
    return (match[1], claim.text[match.end() :]) if match else (claim.slug, claim.text)


def read_book(root: Path, url: str, repository: str) -> Book:
    """Read the repository. Raises SiteError when `rulebook check` would name a fault in it."""
    rules, unreadable = read_rules(root)
    entries, misformed = read_errors(root)
    evidence, odd = read_evidence(root)
    for each in [*unreadable, *misformed, *odd]:
        raise SiteError(f"{each.path}:{each.line}: {each.message}; {each.hint}")
    _anchors(entries)
    return Book(root, url.rstrip("/") + "/", repository.rstrip("/"), rules, entries, evidence)


def _anchors(entries: list[Entry]) -> None:
    """Two texts of one page with the same words would share an address."""
    taken: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        other = taken.setdefault((entry.category, slug(entry.fragment)), entry)
        if other is not entry:
            message = f"{entry.fragment!r} has the address of {other.fragment!r}"
            raise SiteError(f"{entry.path}:{entry.line}: {message}; choose other words")
