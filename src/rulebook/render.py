"""Write the texts that follow from the rules: index, tables, llms.txt, manifests."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from rulebook.checks import findings as found_in_code
from rulebook.dist import MARKETPLACE, SKILL, SUMMARY, marketplace, project_owner
from rulebook.errors import Entry, read_errors
from rulebook.evidence import Evidence
from rulebook.linters import linter_files
from rulebook.model import Finding, Page
from rulebook.payload import NAME
from rulebook.probes import seen
from rulebook.versions import pins, project_version

REVIEW, PROBE = "\u2020", "\u2021"  # on a trap that review.py, or probe.py, finds
# What the skill speaks about; the other pins only serve the tests.
SUBJECTS = ["fastapi", "starlette", "pydantic", "uvicorn", "sqlalchemy", "asyncpg", "alembic"]
SUBJECTS += ["aiohttp", "httpx2", "prometheus-client", "procrastinate"]
SUBJECTS += ["pydantic-settings", "pyjwt"]
STALE = "run `rulebook build`"


def generated(
    root: Path, rules: dict[str, Page], evidence: list[Evidence]
) -> tuple[dict[Path, str], list[Finding]]:
    """Return every generated text by the file it belongs in, and what prevents one."""
    findings: list[Finding] = []
    version = project_version(root)
    entries, _ = read_errors(root)
    parts = {
        "index": index(rules),
        "rules": rule_table(rules),
        "numbers": f"{numbers(rules, entries)}\n{tools(root)}",
    }
    texts: dict[Path, str] = {}
    marks = {REVIEW: found_in_code(root), PROBE: seen(root)}
    for rule in rules.values():
        texts[rule.path] = marked(rule, marks)
    for name in ("SKILL.md", "README.md"):
        path = root / name
        if not path.exists():
            findings.append(Finding(path, 1, "is missing", "restore it"))
            continue
        text = path.read_text(encoding="utf-8")
        texts[path] = _filled(path, text, parts, rules, findings)
    skill = root / "SKILL.md"
    if skill in texts:
        stamp = {"version": version, "verified": verified(root)}
        for field, value in stamp.items():
            pattern = rf'(?m)^(  {field}: )".*"$'
            texts[skill] = re.sub(pattern, rf'\1"{value}"', texts[skill], count=1)
    texts[root / "llms.txt"] = llms_txt(rules)
    texts[root / "MANIFEST.json"] = _json(manifest(root, rules, evidence))
    texts[root / MARKETPLACE] = _json(plugin(root))
    return texts | linter_files(root, rules), findings


def _filled(
    path: Path, text: str, parts: dict[str, str], rules: dict[str, Page], found: list[Finding]
) -> str:
    marker = re.compile(r"(<!-- (\w+)((?: \S+)*):start -->\n).*?(<!-- \2:end -->)", re.S)

    def fill(match: re.Match[str]) -> str:
        name, arguments = match[2], match[3].split()
        line = text.count("\n", 0, match.start()) + 1
        half = name == "half" and len(arguments) == 3
        content = half_text(rules, *arguments) if half else parts.get(name)
        if content is None:
            found.append(Finding(path, line, f"nothing to generate for {name}", "mend the marker"))
            return match[0]
        return f"{match[1]}{content}\n{match[4]}"

    return marker.sub(fill, text)


def marked(rule: Page, marks: dict[str, set[tuple[str, str]]]) -> str:
    """A rule's text with a mark on each trap that a tool finds, and on no other."""
    lines = rule.text.split("\n")
    for claim in rule.claims:
        own = "".join(mark for mark, found in marks.items() if (rule.id, claim.slug) in found)
        line = lines[claim.line - 1]
        lead = rf"^- \*\*(.+?)[{''.join(marks)}]*\*\*"
        lines[claim.line - 1] = re.sub(lead, rf"- **\1{own}**", line)
    return "\n".join(lines)


def index(rules: dict[str, Page]) -> str:
    """The table an agent chooses rules by: what the task touches."""
    rows = ["| Rule | Read it when |", "| --- | --- |"]
    for rule in rules.values():
        rows.append(f"| [{rule.id}](rules/{rule.id}.md) | {rule.meta['when']} |")
    return "\n".join(rows)


def rule_table(rules: dict[str, Page]) -> str:
    """The table a person chooses rules by."""
    rows = ["| Rule | Impact | Without it |", "| --- | --- | --- |"]
    for rule in rules.values():
        link = f"[{rule.meta['title']}](rules/{rule.id}.md)"
        rows.append(f"| {link} | {rule.meta['impact']} | {rule.meta['impactDescription']} |")
    return "\n".join(rows)


def numbers(rules: dict[str, Page], entries: list[Entry]) -> str:
    """How much is proven."""
    pairs = sum(len(rule.pairs) for rule in rules.values())
    claims = sum(len(rule.claims) for rule in rules.values())
    return (
        f"{len(rules)} rules hold {pairs} pairs: each incorrect half is seen to fail and each"
        f" correct half to hold, by the same observation.\n{claims} traps and version notes are"
        f" confirmed by a test that names them; each of {len(entries)} error texts was produced."
    )


def tools(root: Path) -> str:
    """How much of it the tools see in a project."""
    return (
        f"`review.py` finds {len(found_in_code(root))} of the traps and pairs in code,"
        f" `probe.py` sees {len(seen(root))} of them when the application runs."
    )


def half_text(rules: dict[str, Page], rule: str, pair: str, verdict: str) -> str | None:
    """The code of a half, as its rule shows and its proof runs it; None when there is none."""
    for half in rules[rule].halves if rule in rules else ():
        if (half.pair, half.verdict) == (pair, verdict):
            return f"```python\n{half.block.code}```"
    return None


def llms_head() -> list[str]:
    """What an index by https://llmstxt.org begins with."""
    return [f"# {NAME}", "", f"> {SUMMARY}; every example is executed."]


def llms_txt(rules: dict[str, Page]) -> str:
    """An index by https://llmstxt.org."""
    lines = llms_head()
    category = ""
    for rule in rules.values():
        if rule.category != category:
            category = rule.category
            lines += ["", f"## {category}", ""]
        lines.append(f"- [{rule.meta['title']}](rules/{rule.id}.md): {rule.meta['when']}")
    return "\n".join(lines) + "\n"


def verified(root: Path) -> str:
    """The main versions the examples are proven on, in one line."""
    known = pins(root)
    names = {"fastapi": "FastAPI", "sqlalchemy": "SQLAlchemy", "asyncpg": "asyncpg"}
    return ", ".join(f"{title} {known[name]}" for name, title in names.items() if name in known)


def manifest(root: Path, rules: dict[str, Page], evidence: list[Evidence]) -> dict[str, Any]:
    """Which test proves which example, by hash, and on which versions."""
    proofs = {(e.page, e.key): e for e in evidence if e.kind == "proves"}
    examples = []
    for rule in rules.values():
        for half in rule.halves:
            proof = proofs.get((rule.id, half.pair))
            place = f"{proof.path.relative_to(root).as_posix()}::{proof.test}" if proof else None
            digest = hashlib.sha256(half.block.code.encode()).hexdigest()
            examples.append(
                {
                    "rule": rule.id,
                    "pair": half.pair,
                    "half": half.verdict,
                    "sha256": digest,
                    "proof": place,
                }
            )
    known = pins(root)
    floors = {
        name: floor for rule in rules.values() for name, floor in rule.meta["requires"].items()
    }
    return {
        "name": NAME,
        "version": project_version(root),
        "verified": {name: known[name] for name in SUBJECTS if name in known},
        "floors": dict(sorted(floors.items())),
        "examples": examples,
    }


def plugin(root: Path) -> dict[str, Any]:
    """The marketplace on main: its plugin is the payload on the branch dist."""
    source = {
        "source": "git-subdir",
        "url": f"https://github.com/{project_owner(root)}/{NAME}.git",
        "path": SKILL,
        "ref": "dist",
    }
    return marketplace({"source": source, "strict": False})


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
