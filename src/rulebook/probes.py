"""Read from scripts/probes, without running them, which traps and pairs the probes see."""

import re
from collections.abc import Iterator
from pathlib import Path

from rulebook.model import Finding, Page

NAMED = re.compile(r'"([a-z]+/[a-z-]+)#([a-z0-9-]+)"')


def named(root: Path) -> Iterator[tuple[str, str, Path, int]]:
    """Page, trap or pair, file and line of every name that a probe may print."""
    for path in sorted((root / "scripts" / "probes").glob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            for page, slug in NAMED.findall(line):
                yield page, slug, path, number


def seen(root: Path) -> set[tuple[str, str]]:
    """The (page, trap or pair) that some probe sees."""
    return {(page, slug) for page, slug, _, _ in named(root)}


def lint_probes(root: Path, rules: dict[str, Page]) -> Iterator[Finding]:
    """Yield names in probes that no page has."""
    known = {
        (rule.id, slug)
        for rule in rules.values()
        for slug in [pair.slug for pair in rule.pairs] + [claim.slug for claim in rule.claims]
    }
    for page, slug, path, line in named(root):
        if (page, slug) not in known:
            yield Finding(path, line, f"{page} has no trap or pair {slug!r}", "mend the name")
