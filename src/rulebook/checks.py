"""Read from scripts/checks, without running them, which traps and pairs review.py looks for."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rulebook.model import Finding, Page

SECTION = re.compile(r"(?m)^## (\S+)\n(.*?)(?=^## |\Z)", re.S)
ASKED = re.compile(r"# (?:finding|hint)(?:\[([a-z0-9-]+)\])?: ")
FINDING = re.compile(r"# finding(?:\[([a-z0-9-]+)\])?: ")
GROUP = re.compile(r"(?:^```python\n.*?^```\n+)+", re.S | re.M)


@dataclass(frozen=True)
class Check:
    """A function of scripts/checks: the page and the trap or pair it looks for, and its place."""

    page: str
    slug: str
    path: Path
    line: int


def read_checks(root: Path) -> list[Check]:
    """Every function below `root/scripts/checks` that is decorated as a check."""
    checks: list[Check] = []
    for path in sorted((root / "scripts" / "checks").glob("*/*.py")):
        page = f"{path.parent.name}/{path.stem}".replace("_", "-")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and any(map(_registers, node.decorator_list)):
                slug = node.name.rstrip("_").replace("_", "-")
                checks.append(Check(page, slug, path, node.lineno))
    return checks


def _registers(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "check"


def lint_checks(root: Path, rules: dict[str, Page]) -> Iterator[Finding]:
    """Yield checks of what no page says, checks without both kinds of case, and cases of none."""
    checks = read_checks(root)
    for each in checks:
        rule = rules.get(each.page)
        if rule is None or each.slug not in _names(rule):
            message = f"{each.page} has no trap or pair {each.slug!r}"
            yield Finding(each.path, each.line, message, "name the function after one")
        missing = {"true", "safe"} - _kinds(root, each)
        if missing:
            message = f"{each.slug} has no {' and no '.join(sorted(missing, reverse=True))} case"
            hint = f"write it in tests/checks/{each.page}.md"
            yield Finding(each.path, each.line, message, hint)
    known = {(each.page, each.slug) for each in checks}
    for path in sorted((root / "tests" / "checks").glob("*/*.md")):
        text = path.read_text(encoding="utf-8")
        for section in SECTION.finditer(text):
            if (f"{path.parent.name}/{path.stem}", section[1]) not in known:
                line = text.count("\n", 0, section.start()) + 1
                hint = "write the check, or drop the cases"
                yield Finding(path, line, f"no check is called {section[1]}", hint)


def findings(root: Path) -> set[tuple[str, str]]:
    """The (page, trap or pair) of which a case says that review.py reports a finding."""
    found: set[tuple[str, str]] = set()
    for path in (root / "tests" / "checks").glob("*/*.md"):
        page = f"{path.parent.name}/{path.stem}"
        for section in SECTION.finditer(path.read_text(encoding="utf-8")):
            for slug in FINDING.findall(section[2]):
                found.add((page, slug or section[1]))
    return found


def complete(root: Path) -> tuple[int, int]:
    """How many checks have a true and a safe case, and how many there are."""
    checks = read_checks(root)
    return sum(_kinds(root, each) == {"true", "safe"} for each in checks), len(checks)


def _names(rule: Page) -> set[str]:
    return {each.slug for each in rule.pairs} | {each.slug for each in rule.claims}


def _kinds(root: Path, check: Check) -> set[str]:
    path = root / "tests" / "checks" / f"{check.page}.md"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    own = "\n".join(match[2] for match in SECTION.finditer(text) if match[1] == check.slug)
    return {
        "true" if any(slug in ("", check.slug) for slug in ASKED.findall(group[0])) else "safe"
        for group in GROUP.finditer(own)
    }
