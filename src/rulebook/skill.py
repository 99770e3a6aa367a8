"""Check SKILL.md: what the specification and the clients that read it demand."""

import re
from collections.abc import Iterator
from typing import Any

from rulebook.lint import lint_blocks, lint_links
from rulebook.model import Finding, Page
from rulebook.payload import NAME

# https://agentskills.io/specification, which allows a description of 1024; 600 is our budget.
FIELDS = {"name", "description", "license", "compatibility", "metadata"}
DESCRIPTION = (100, 600)
COMPATIBILITY = 500


def lint_skill(page: Page, rules: dict[str, Page]) -> Iterator[Finding]:
    """Yield what is wrong with SKILL.md."""

    def at(field: str, message: str, hint: str) -> Finding:
        return Finding(page.path, page.meta_lines.get(field, 1), message, hint)

    for field in sorted(set(page.meta) - FIELDS):
        yield at(field, f"field {field!r} is not in the specification", "drop it")
    for field in sorted(FIELDS - set(page.meta)):
        yield at(field, f"field {field!r} is missing", "add it")
    if page.meta.get("name") != NAME:
        yield at("name", f"name is {page.meta.get('name')!r}", f"write {NAME}")
    yield from _lint_description(page.meta.get("description"), at)
    if len(str(page.meta.get("compatibility", ""))) > COMPATIBILITY:
        yield at(
            "compatibility", "compatibility is too long", f"at most {COMPATIBILITY} characters"
        )
    metadata = page.meta.get("metadata")
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        yield at("metadata", "metadata holds more than strings", 'quote them: version: "1.0"')
    linked = {href for _, href in page.links}
    for rule in rules.values():
        if f"rules/{rule.id}.md" not in linked:
            yield Finding(page.path, 1, f"does not link rules/{rule.id}.md", "run `rulebook build`")
    yield from lint_blocks(page)
    yield from lint_links(page)


def _lint_description(description: Any, at: Any) -> Iterator[Finding]:
    text = description if isinstance(description, str) else ""
    least, most = DESCRIPTION
    if not least <= len(text) <= most:
        message = f"description of {len(text)} characters"
        yield at("description", message, f"write {least} to {most}")
    if re.search(r"[<>]", text):
        yield at("description", "description holds < or >", "clients refuse it as markup: drop it")
