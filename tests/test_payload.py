"""What ships: exactly the allow-list, and a refusal for what should not."""

import json
import re
import shutil
from pathlib import Path

import pytest

from rulebook.payload import PayloadError, payload
from tests.harness import ROOT, pages


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files a payload is made from, to spoil."""
    root = tmp_path / "clone"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("rules", "errors", "scripts", "examples"):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, root / name, ignore=ignored)
    for name in ("SKILL.md", "LICENSE", "MANIFEST.json"):
        shutil.copy(ROOT / name, root / name)
    return root


def test_nothing_for_contributors_ships() -> None:
    """Tests, workshop and hidden files stay here."""
    heads = {name.split("/")[0] for name in payload(ROOT)}

    assert heads <= {
        "SKILL.md",
        "LICENSE",
        "rules",
        "errors",
        "examples",
        "scripts",
        "ruff.toml",
        "MANIFEST.json",
    }


def test_every_link_leads_somewhere_in_the_payload() -> None:
    """What an installed rule points to was installed with it."""
    files = payload(ROOT)
    links = [
        (name, (Path(name).parent / href).as_posix())
        for name, data in files.items()
        if name.endswith(".md")
        for href in re.findall(r"\]\((?!https://)([^)#]+)", data.decode())
    ]

    assert [link for link in links if str(_normal(link[1])) not in files] == []


def _normal(path: str) -> Path:
    parts: list[str] = []
    for part in Path(path).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return Path(*parts)


def test_the_manifest_names_a_proof_for_each_example() -> None:
    """Whoever doubts an example finds the test that ran it."""
    examples = json.loads(payload(ROOT)["MANIFEST.json"])["examples"]
    proofs = {example["proof"].split("::")[0] for example in examples}

    assert len(examples) == sum(len(p.halves) for p in pages().values() if p.id != "SKILL")
    assert all((ROOT / proof).exists() for proof in proofs)


def link(root: Path) -> None:
    (root / "rules" / "asyncio" / "link.md").symlink_to("taskgroup.md")


def encode(root: Path) -> None:
    (root / "rules" / "asyncio" / "taskgroup.md").write_bytes(b"caf\xe9")


def grow(root: Path) -> None:
    (root / "LICENSE").write_text("x" * 600_001)


def lose(root: Path) -> None:
    (root / "MANIFEST.json").unlink()


def smuggle(root: Path) -> None:
    (root / "examples").mkdir(exist_ok=True)
    (root / "examples" / "data.db").write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (link, "is a link"),
        (encode, "is not UTF-8"),
        (grow, "at most"),
        (lose, "rulebook build"),
        (smuggle, "is not something a skill ships"),
    ],
)
def test_what_should_not_ship_is_refused(clone: Path, spoil: object, complaint: str) -> None:
    """The message names the file and what to do."""
    spoil(clone)

    with pytest.raises(PayloadError, match=complaint):
        payload(clone)
