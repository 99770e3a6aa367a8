"""Check the whole book: every page, what the tests say of it, every generated text."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rulebook import checks
from rulebook.budget import budgets, lint_budgets
from rulebook.errors import Entry, lint_errors, read_errors
from rulebook.evidence import Evidence, match, read_evidence
from rulebook.lint import lint_rule
from rulebook.load import load
from rulebook.model import Finding, Half, Page
from rulebook.parse import read_page, read_rules
from rulebook.payload import PayloadError, payload
from rulebook.probes import lint_probes
from rulebook.render import STALE, generated
from rulebook.skill import lint_skill
from rulebook.style import lint_style
from rulebook.typecheck import type_errors


@dataclass
class Report:
    """What a check found, how much there was to check, and what it costs."""

    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    budgets: dict[str, tuple[int, int]] = field(default_factory=dict)


def check(root: Path) -> Report:
    """Check everything below `root`; whatever a person wrote wrongly is a finding.

    Raises RuntimeError when mypy or ruff cannot run.
    """
    rules, findings = read_rules(root)
    skill, found = read_page(root / "SKILL.md", root)
    findings += found
    evidence, found = read_evidence(root)
    findings += found
    pages = rules | ({skill.id: skill} if skill else {})
    for rule in rules.values():
        findings += lint_rule(rule)
    if skill:
        findings += lint_skill(skill, rules)
    findings += lint_floors(rules)
    findings += lint_budgets(root, rules, skill)
    entries, found = read_errors(root)
    findings += found
    findings += lint_errors(entries, rules)
    findings += checks.lint_checks(root, rules)
    findings += lint_probes(root, rules)
    findings += match(pages, entries, evidence)
    findings += lint_style(pages.values())
    halves = [half for page in pages.values() for half in page.halves]
    broken = [finding for half in halves for finding in _loads(half)]
    broken += type_errors(halves, root)
    findings += broken
    findings += _stale(root, rules, evidence)
    findings += _unshippable(root)
    return Report(
        findings=sorted(set(findings)),
        counts=_counts(pages, entries, evidence, broken)
        | {"checks with a true and a safe case": checks.complete(root)},
        budgets=budgets(rules, skill),
    )


def lint_floors(rules: dict[str, Page]) -> Iterator[Finding]:
    """Yield floors that differ between rules: one environment has to satisfy them all."""
    first: dict[str, tuple[str, str]] = {}
    for rule in rules.values():
        requires = rule.meta.get("requires")
        for package, floor in requires.items() if isinstance(requires, dict) else ():
            known, where = first.setdefault(package, (floor, rule.id))
            if floor != known:
                line = rule.meta_lines["requires"]
                message = f"requires {package} {floor}, {where} says {known}"
                yield Finding(rule.path, line, message, "one floor a package in all rules")


def _loads(half: Half) -> Iterator[Finding]:
    try:
        load(half)
    except Exception as error:  # a block can fail in any way
        line = half.block.line
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == str(half.block.path):
                line = trace.tb_lineno
            trace = trace.tb_next
        message = f"does not load: {type(error).__name__}: {error}"
        yield Finding(half.block.path, line, message, "make the block stand alone")


def _stale(root: Path, rules: dict[str, Page], evidence: list[Evidence]) -> Iterator[Finding]:
    try:
        texts, findings = generated(root, rules, evidence)
    except (KeyError, OSError) as error:  # a field or file whose absence is a finding already
        yield Finding(root / "SKILL.md", 1, f"nothing can be generated: {error}", "mend the rest")
        return
    yield from findings
    for path, text in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            yield Finding(path, 1, "generated text is stale", STALE)


def _unshippable(root: Path) -> Iterator[Finding]:
    try:
        payload(root)
    except PayloadError as error:
        yield Finding(root / "SKILL.md", 1, f"payload: {error}", "see src/rulebook/payload.py")


def _counts(
    pages: dict[str, Page],
    entries: list[Entry],
    evidence: list[Evidence],
    broken: list[Finding],
) -> dict[str, tuple[int, int]]:
    spoken = {(each.kind, each.page, each.key) for each in evidence}
    halves = [half for page in pages.values() for half in page.halves]
    pairs = [("proves", page.id, pair.slug) for page in pages.values() for pair in page.pairs]
    claims = [("confirms", page.id, each.slug) for page in pages.values() for each in page.claims]
    texts = [("produces", f"errors/{entry.category}", entry.fragment) for entry in entries]
    good = sum(not any(map(half.block.holds, broken)) for half in halves)
    return {
        "blocks loaded and typed": (good, len(halves)),
        "pairs proven": (len(spoken.intersection(pairs)), len(pairs)),
        "traps and versions confirmed": (len(spoken.intersection(claims)), len(claims)),
        "error texts produced": (len(spoken.intersection(texts)), len(texts)),
    }
