"""`rulebook ship`: the whole branch that users install from, or nothing, and nobody's work lost."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rulebook import dist as module
from rulebook.cli import main
from rulebook.dist import DistError, project_owner, readme, ship
from rulebook.payload import payload
from rulebook.versions import project_version
from tests.harness import ROOT

SKILL = Path("skills/python-backend")
HEAD = Path(".git/HEAD")


def content(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def small_tree(*pages: str) -> dict[str, bytes]:
    """A tree as it is shipped, with little in it."""
    hashes = {page: hashlib.sha256(page.encode()).hexdigest() for page in pages}
    skill = {page: page.encode() for page in pages}
    skill["MANIFEST.json"] = json.dumps({"files": hashes}).encode()
    beside = {"LICENSE": b"", "README.md": b"", ".claude-plugin/marketplace.json": b"{}"}
    return beside | {f"{SKILL}/{name}": data for name, data in skill.items()}


OLDER = small_tree("SKILL.md", "rules/asyncio/gone.md")
NEWER = small_tree("SKILL.md", "rules/asyncio/new.md")


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A worktree of the branch: a tree of an older release, and git's own folder."""
    folder = tmp_path / "shipped"
    ship(OLDER, folder)
    (folder / HEAD).parent.mkdir()
    (folder / HEAD).write_text("ref")
    return folder


def test_the_tree_is_the_payload_and_four_files(tmp_path: Path) -> None:
    """What a user's agent does not need is not there."""
    assert main(["ship", str(tmp_path / "new" / "tree")]) == 0
    expected = {f"{SKILL}/{name}": data for name, data in payload(ROOT).items()}
    found = content(tmp_path / "new" / "tree")

    assert {name: found.pop(name) for name in expected} == expected
    beside = [".claude-plugin/marketplace.json", ".pre-commit-hooks.yaml", "LICENSE", "README.md"]
    assert sorted(found) == beside


def test_the_marketplace_there_has_the_version_and_the_folder(tmp_path: Path) -> None:
    """Agents see an update by the version, and take the payload alone."""
    main(["ship", str(tmp_path)])
    market = json.loads((tmp_path / ".claude-plugin" / "marketplace.json").read_text("utf-8"))
    (plugin,) = market["plugins"]

    assert (plugin["source"], plugin["strict"]) == (f"./{SKILL}", False)
    assert plugin["version"] == project_version(ROOT)


def test_an_owner_is_filled_in(tmp_path: Path) -> None:
    """`--owner` names the repository that the texts lead to."""
    main(["ship", str(tmp_path), "--owner", "some-body"])
    text = (tmp_path / "README.md").read_text(encoding="utf-8")

    assert ("OWNER" in text, "npx skills add some-body/python-backend" in text) == (False, True)


def test_the_owner_is_the_projects(tmp_path: Path) -> None:
    """Without the option it stands in one place, the addresses in pyproject.toml."""
    addresses = '[project.urls]\nRepository = "https://example.org/some-body/python-backend"'
    (tmp_path / "pyproject.toml").write_text(f"[project]\n{addresses}")

    assert project_owner(tmp_path) == "some-body"


@pytest.mark.parametrize("owner", ["", "a/b", "-a", "a b"])
def test_what_cannot_own_a_repository_is_refused(tmp_path: Path, owner: str) -> None:
    """A slip of the keyboard does not get into a published text."""
    assert main(["ship", str(tmp_path / "new"), f"--owner={owner}"]) == 2
    assert not (tmp_path / "new").exists()


def test_the_readme_has_absolute_links_only() -> None:
    """It is read on a host's page of the branch, and on the page of the package."""
    links = re.findall(r"\]\(([^)]+)\)", readme("OWNER"))

    assert links
    assert [link for link in links if not link.startswith("https://")] == []


def test_an_older_tree_is_replaced(shipped: Path) -> None:
    """A rule that is no more goes, and git's folder stays."""
    ship(NEWER, shipped)

    assert content(shipped) == NEWER | {str(HEAD): b"ref"}


def test_a_worktree_stays_one(shipped: Path) -> None:
    """There `.git` is a file, which names the repository."""
    shutil.rmtree(shipped / ".git")
    (shipped / ".git").write_text("gitdir: elsewhere")
    ship(NEWER, shipped)

    assert (shipped / ".git").read_text() == "gitdir: elsewhere"


def test_line_ends_are_no_edit(shipped: Path) -> None:
    """git writes them as it is told on Windows."""
    page = shipped / SKILL / "SKILL.md"
    page.write_bytes(b"SKILL.md\r\n")
    manifest = {"files": {"SKILL.md": hashlib.sha256(b"SKILL.md\n").hexdigest()}}
    (shipped / SKILL / "MANIFEST.json").write_text(json.dumps(manifest))
    (shipped / SKILL / "rules" / "asyncio" / "gone.md").unlink()
    ship(NEWER, shipped)

    assert page.read_bytes() == b"SKILL.md"


def add(folder: Path) -> Path:
    return _written(folder / "notes.md")


def add_inside(folder: Path) -> Path:
    return _written(folder / SKILL / "rules" / "notes.md")


def add_skill(folder: Path) -> Path:
    return _written(folder / "skills" / "another" / "SKILL.md")


def edit(folder: Path) -> Path:
    return _written(folder / SKILL / "SKILL.md")


def spoil(folder: Path) -> Path:
    _written(folder / SKILL / "MANIFEST.json")
    return folder


def link(folder: Path) -> Path:
    shutil.move(folder / "skills", folder.parent / "skills")
    (folder / "skills").symlink_to(folder.parent / "skills")
    return folder / "skills"


def _written(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    return path


@pytest.mark.parametrize("change", [add, add_inside, add_skill, edit, spoil, link])
def test_what_is_not_ours_is_refused(shipped: Path, change: Callable[[Path], Path]) -> None:
    """Nothing changes, and the message names what is in the way."""
    named = change(shipped)
    before = content(shipped)

    with pytest.raises(DistError, match=re.escape(str(named))):
        ship(NEWER, shipped)
    assert content(shipped) == before


def test_a_file_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is left alone."""
    (tmp_path / "x").write_text("mine")

    assert main(["ship", str(tmp_path / "x")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_the_repository_itself_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """`rulebook ship .` is a slip: nothing in the clone is touched."""
    assert main(["ship", str(ROOT)]) == 2
    assert "was not put there by this command" in capsys.readouterr().err


MOVES = [(True, step) for step in range(1, 9)] + [(False, step) for step in range(1, 5)]


@pytest.mark.parametrize(("filled", "step"), MOVES)
def test_a_failure_leaves_what_was_there(
    shipped: Path, monkeypatch: pytest.MonkeyPatch, filled: bool, step: int
) -> None:
    """Whichever of the renames it is that fails; an empty folder is empty again."""
    if not filled:
        shutil.rmtree(shipped)
        shipped.mkdir()
    before, rename, left = content(shipped), Path.rename, [step]

    def failing(path: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == 0:
            raise OSError("no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)

    with pytest.raises(OSError, match="no"):
        ship(NEWER, shipped)
    assert content(shipped) == before


def test_a_full_disk_leaves_no_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made for the tree goes again."""

    def failing(files: dict[str, bytes], folder: Path) -> None:
        folder.mkdir()
        (folder / "half").write_text("")
        raise OSError("no space")

    monkeypatch.setattr(module, "write", failing)

    with pytest.raises(OSError, match="no space"):
        ship(NEWER, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
