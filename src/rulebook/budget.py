"""What the skill may cost an agent, in estimated tokens."""

from collections.abc import Iterator
from pathlib import Path

from rulebook.model import Finding, Page
from rulebook.tokens import estimate

RULE = 2800
MEAN = 2400
SKILL = 2200
SKILL_LINES = 200
TASK = 7500  # SKILL.md and the two largest rules


def budgets(rules: dict[str, Page], skill: Page | None) -> dict[str, tuple[int, int]]:
    """Return (cost, limit) by what is limited, in estimated tokens unless the name says lines."""
    sizes = sorted((estimate(rule.text) for rule in rules.values()), reverse=True)
    body = estimate(skill.body) if skill else 0
    return {
        "SKILL.md body": (body, SKILL),
        "SKILL.md lines": (skill.text.count("\n") if skill else 0, SKILL_LINES),
        "largest rule": (max(sizes, default=0), RULE),
        "mean of the rules": (sum(sizes) // max(len(sizes), 1), MEAN),
        "SKILL.md and two rules": (body + sum(sizes[:2]), TASK),
    }


def lint_budgets(root: Path, rules: dict[str, Page], skill: Page | None) -> Iterator[Finding]:
    """Yield each budget that is exceeded, at the file that exceeds it."""
    for rule in rules.values():
        if (size := estimate(rule.text)) > RULE:
            yield Finding(rule.path, 1, f"about {size} tokens", f"cut it to {RULE}")
    for name, (cost, limit) in budgets(rules, skill).items():
        if cost > limit and name != "largest rule":
            yield Finding(root / "SKILL.md", 1, f"{name}: {cost}", f"cut it to {limit}")
