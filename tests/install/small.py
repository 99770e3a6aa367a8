"""What `rulebook install` puts into a project, in small: the whole skill takes longer."""

from pathlib import Path

from rulebook.agents_md import changed, plan

AGENTS, CLAUDE = ".agents/skills/python-backend", ".claude/skills/python-backend"
SMALL = {
    "SKILL.md": "---\nname: python-backend\ndescription: In small.\nlicense: MIT\n---\n# Small\n",
    "LICENSE": "MIT\n",
    "MANIFEST.json": '{"name": "python-backend"}\n',
    "rules/asyncio/taskgroup.md": "# Own every task you start\n",
    "scripts/review.py": "",
}


def small_skill(root: Path) -> Path:
    """A repository with a skill of few files, at a path that does not exist yet."""
    for name, text in SMALL.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def put(project: Path, skill: str = AGENTS, *, force: bool = False) -> bytes:
    """Put the block into a project, or bring it up to date; return the file."""
    change = plan(project, skill, wanted=True, force=force)
    assert change
    with changed(change):
        return (project / "AGENTS.md").read_bytes()


def take(project: Path, *, force: bool = False) -> None:
    """Take the block away."""
    change = plan(project, None, wanted=False, force=force)
    assert change
    with changed(change):
        pass
