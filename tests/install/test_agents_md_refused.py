"""`rulebook install --agents-md` refuses what is not safe to change, and then does nothing else."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rulebook import agents_md as module
from rulebook.cli import main
from tests.install.small import AGENTS, put, take

Spoil = Callable[[bytes], bytes]
DAMAGE: dict[str, tuple[Spoil, int]] = {
    "its end is lost": (lambda text: text.replace(module.END, b""), 3),
    "its start is lost": (lambda text: re.sub(rb"<!-- \S+:start.*", b"", text), 13),
    "it is there twice": (lambda text: text + text[text.index(b"<!--") :], 14),
    "its end is there twice": (lambda text: text + b"\n" + module.END, 15),
    "it is upside down": (lambda text: module.END + b"\n" + text.replace(module.END, b""), 4),
    "a conflict is in it": (lambda text: text.replace(b"\n- For", b"\n=======\n- For"), 3),
    "its stamp is lost": (lambda text: re.sub(rb"start \w+", b"start", text), 3),
    "a word of it is edited": (lambda text: text.replace(b"over memory", b"at times"), 3),
}


@pytest.mark.parametrize(("spoil", "line"), DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("skill", [AGENTS, None])
@pytest.mark.parametrize("wanted", [True, False])
def test_a_damaged_block_is_refused(
    project: Path, spoil: Spoil, line: int, skill: str | None, wanted: bool
) -> None:
    """With its file and line, whether it is to be made, refreshed or taken away."""
    (project / "AGENTS.md").write_bytes(b"mine\n")
    (project / "AGENTS.md").write_bytes(spoil(put(project)))

    with pytest.raises(module.AgentsMdError, match=rf"AGENTS\.md:{line}: "):
        module.plan(project, skill, wanted=wanted, force=False)


@pytest.mark.parametrize("option", ["--agents-md", "--only=claude", "--uninstall"])
def test_nothing_else_is_done_beside_a_damaged_block(
    project: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folders are as they were, and the message names the file."""
    main(["install", str(project), "--only=agents", "--agents-md"])
    (project / "AGENTS.md").write_bytes(b"mine\n" + module.END)
    before = sorted(project.rglob("*"))

    assert main(["install", str(project), option]) == 1
    assert f"{project / 'AGENTS.md'}:2: " in capsys.readouterr().err
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize("work", [put, take])
def test_force_replaces_an_edited_block(project: Path, work: Callable[..., object]) -> None:
    """The user's text around it stays."""
    path = project / "AGENTS.md"
    path.write_bytes(b"mine\n")
    path.write_bytes(put(project).replace(b"over memory", b"at times") + b"\nmine too\n")
    work(project, force=True)

    text = path.read_bytes()
    assert (text.startswith(b"mine\n"), text.endswith(b"\nmine too\n")) == (True, True)
    assert b"at times" not in text


def test_force_does_not_guess_where_a_block_ends(project: Path) -> None:
    """Between a start and no end anything may be the user's."""
    (project / "AGENTS.md").write_bytes(put(project).replace(module.END, b"mine"))

    with pytest.raises(module.AgentsMdError, match="has no end"):
        put(project, force=True)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def lead_outside(path: Path) -> None:
    (path.parent.parent / "notes.md").write_bytes(b"mine\n")
    path.symlink_to("../notes.md")


def encode(path: Path) -> None:
    path.write_text("mine\n", encoding="utf-16")


def protect(path: Path) -> None:
    path.write_bytes(b"mine\n")
    path.chmod(0o444)


@pytest.mark.parametrize(
    "obstacle", [make_folder, make_loop, make_pipe, lead_outside, encode, protect]
)
def test_what_cannot_hold_the_block_is_refused(
    project: Path, obstacle: Callable[[Path], None]
) -> None:
    """The message names it; without the flag it is nobody's business."""
    obstacle(project / "AGENTS.md")

    with pytest.raises(module.AgentsMdError, match=r"AGENTS\.md: is "):
        module.plan(project, AGENTS, wanted=True, force=False)
    assert module.plan(project, AGENTS, wanted=False, force=False) is None
