"""`rulebook install --agents-md`: a small block of ours, and every other byte the user's."""

import json
import re
from pathlib import Path

import pytest

from rulebook import agents_md as module
from rulebook.cli import main
from tests.harness import ROOT
from tests.install.small import AGENTS, CLAUDE, put, take

TEXTS = {
    "ends in a newline": b"# Project\n\nUse uv.\n",
    "ends in none": b"# Project\n\nUse uv.",
    "ends in blank lines": b"# Project\n\n\n\n",
    "is one newline": b"\n",
    "is empty": b"",
    "has Windows line ends": b"# Project\r\n\r\nUse uv.\r\n",
    "has Windows line ends and none at its end": b"# Project\r\nUse uv.",
    "has Mac line ends": b"# Project\r\rUse uv.\r",
    "mixes line ends": b"# Project\r\nUse uv.\nAnd ruff.\r\n",
    "ends in a line end of its own": b"# Project\nUse uv.\r",
    "has a byte order mark": b"\xef\xbb\xbf# Project\n",
    "is a byte order mark": b"\xef\xbb\xbf",
    "is Latin-1": b"Caf\xe9\n",
    "has a form feed and a separator": b"a\x0cb\xe2\x80\xa8c\x1d\n",
    "speaks of the marker": b"The line `<!-- python-backend:start -->` begins a block.\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_users_text_comes_back_byte_for_byte(project: Path, text: bytes) -> None:
    """The block goes to the end, and leaves nothing behind when it goes."""
    path = project / "AGENTS.md"
    path.write_bytes(text)
    with_block = put(project)
    take(project)

    assert (with_block.startswith(text), b"SKILL.md" in with_block) == (True, True)
    assert path.read_bytes() == text


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_twice_is_once(project: Path, text: bytes) -> None:
    """A second run finds the block and has nothing to change."""
    (project / "AGENTS.md").write_bytes(text)
    once = put(project)

    assert put(project) == once


@pytest.mark.parametrize("text", [b"a\r\nb\r\n", b"a\nb\n"])
def test_the_block_has_the_line_ends_of_the_file(project: Path, text: bytes) -> None:
    """No editor complains of mixed ones."""
    (project / "AGENTS.md").write_bytes(text)

    ends = set(re.findall(rb"\r?\n", put(project)))
    assert ends == set(re.findall(rb"\r?\n", text))


@pytest.mark.parametrize("skill", [AGENTS, CLAUDE])
def test_the_block_is_small(project: Path, skill: str) -> None:
    """Every session of every agent pays for it: at most 1,000 bytes."""
    assert len(put(project, skill)) <= 1000


def test_every_file_that_the_block_names_was_installed(project: Path) -> None:
    """SKILL.md and two scripts."""
    main(["install", str(project), "--agents-md", "--root", str(ROOT)])
    named = re.findall(r"\.agents/[\w./-]+\.\w+", (project / "AGENTS.md").read_text("utf-8"))

    assert {Path(name).name for name in named} == {"SKILL.md", "explain.py", "review.py"}
    assert [name for name in named if not (project / name).is_file()] == []


def test_a_file_that_was_made_for_the_block_goes_with_it(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its making is told, and the project is as before."""
    main(["install", str(project), "--agents-md"])
    told = capsys.readouterr().out
    main(["install", str(project), "--uninstall"])

    assert f"created {project / 'AGENTS.md'}\n" in told
    assert list(project.iterdir()) == []


def test_it_is_told_as_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last entry is the file, with what was done to it."""
    (project / "AGENTS.md").write_text("mine\n")
    main(["install", str(project), "--agents-md", "--json"])

    printed = json.loads(capsys.readouterr().out)["done"]
    assert printed[-1] == {"path": str(project / "AGENTS.md"), "action": "updated"}


def test_without_the_flag_there_is_no_block(project: Path) -> None:
    """Nobody's AGENTS.md is touched unasked."""
    (project / "AGENTS.md").write_bytes(b"mine\n")
    main(["install", str(project)])

    assert (project / "AGENTS.md").read_bytes() == b"mine\n"


def test_a_later_install_refreshes_the_block(project: Path) -> None:
    """Also without the flag: what an older version wrote there is replaced, in its place."""
    body = b"what an older version said"
    old = module.START + b" " + module._digest([body]) + b" -->\n" + body + b"\n" + module.END
    (project / "AGENTS.md").write_bytes(b"above\n\n" + old + b"\n\nbelow\n")
    main(["install", str(project)])

    text = (project / "AGENTS.md").read_bytes()
    assert (text.startswith(b"above\n\n<!--"), text.endswith(b"-->\n\nbelow\n")) == (True, True)
    assert (body in text, b"explain.py" in text) == (False, True)


def test_the_block_names_the_copy_that_is_there(project: Path) -> None:
    """It stays until the last copy goes, and names the one that is left."""
    main(["install", str(project), "--agents-md"])
    main(["install", str(project), "--uninstall", "--only", "agents"])
    named = (project / "AGENTS.md").read_text("utf-8")
    main(["install", str(project), "--uninstall", "--only", "claude"])

    assert (AGENTS in named, f"{CLAUDE}/SKILL.md" in named) == (False, True)
    assert not (project / "AGENTS.md").exists()


def test_one_copy_by_a_link_goes_with_its_block(project: Path) -> None:
    """A project whose .claude/skills leads to .agents/skills has one copy, not two."""
    (project / ".agents" / "skills").mkdir(parents=True)
    (project / ".claude").mkdir()
    (project / ".claude" / "skills").symlink_to("../.agents/skills")
    main(["install", str(project), "--agents-md"])
    main(["install", str(project), "--uninstall"])

    assert not (project / "AGENTS.md").exists()


def test_line_ends_that_git_changed_are_no_edit(project: Path) -> None:
    """A checkout on Windows has others."""
    (project / "AGENTS.md").write_bytes(b"mine\n")
    (project / "AGENTS.md").write_bytes(put(project).replace(b"\n", b"\r\n"))
    take(project)

    assert (project / "AGENTS.md").read_bytes() == b"mine\r\n"


def test_text_below_the_block_stays(project: Path) -> None:
    """A user goes on writing at the end of the file."""
    (project / "AGENTS.md").write_bytes(b"above\n")
    (project / "AGENTS.md").write_bytes(put(project) + b"\nbelow\n")
    take(project)

    assert (project / "AGENTS.md").read_bytes() == b"above\n\nbelow\n"


@pytest.mark.parametrize("text", [b"mine\n", None])
def test_a_link_stays_a_link(
    project: Path, text: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """AGENTS.md is often one to CLAUDE.md: the text goes there, is told, and comes away."""
    claude = project / "CLAUDE.md"
    if text:
        claude.write_bytes(text)
    (project / "AGENTS.md").symlink_to("CLAUDE.md")
    main(["install", str(project), "--agents-md"])
    held, said = claude.read_bytes(), capsys.readouterr()
    main(["install", str(project), "--uninstall"])

    assert (b"SKILL.md" in held, f"d {claude}\n" in said.out, said.err.count("\n")) == (
        True,
        True,
        3,
    )
    assert (project / "AGENTS.md").is_symlink()
    assert (claude.read_bytes() if claude.exists() else None) == text


def test_the_mode_and_hard_links_of_the_file_stay(project: Path) -> None:
    """It is written in place."""
    (project / "AGENTS.md").write_bytes(b"mine\n")
    (project / "AGENTS.md").chmod(0o640)
    (project / "other").hardlink_to(project / "AGENTS.md")
    put(project)

    assert (project / "AGENTS.md").stat().st_mode & 0o777 == 0o640
    assert b"SKILL.md" in (project / "other").read_bytes()


@pytest.mark.parametrize("text", [None, b"mine\n"])
def test_when_it_cannot_be_written_nothing_is_installed(
    project: Path, text: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up at AGENTS.md: its text is back, and the folders are gone."""
    if text:
        (project / "AGENTS.md").write_bytes(text)
    write, calls = module._write, []

    def fail(path: Path, data: bytes | None) -> None:
        write(path, data and data[:60])
        calls.append(data)
        if len(calls) == 1:
            raise OSError("No space left on device")

    monkeypatch.setattr(module, "_write", fail)

    assert main(["install", str(project), "--agents-md"]) == 2
    left = {path.name: path.read_bytes() for path in project.iterdir()}
    assert left == ({"AGENTS.md": text} if text else {})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("CLAUDE.md", "Use uv.\n", "@AGENTS.md"),
        ("CLAUDE.md", "Do not use AGENTS.md.\n", "@AGENTS.md"),
        (".claude/CLAUDE.md", "Use uv.\n", "@../AGENTS.md"),
        ("CLAUDE.local.md", "Use uv.\n", "@AGENTS.md"),
        ("CLAUDE.md", "@AGENTS.md\n", None),
        (".claude/CLAUDE.md", "@../AGENTS.md\n", None),
        ("README.md", "Use uv.\n", None),
    ],
)
def test_a_claude_md_that_hides_it_is_named(
    project: Path, name: str, text: str, said: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Claude Code reads AGENTS.md only where no CLAUDE.md is, or by its own line."""
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).write_text(text)
    main(["install", str(project), "--agents-md", "--only", "claude"])
    line = f"{project / name}: Claude Code reads it in place of AGENTS.md; write the line {said} "

    assert (line in capsys.readouterr().err) == (said is not None)


def test_a_formatter_may_add_and_drop_blank_lines(project: Path) -> None:
    """Such a block is ours still: it is refreshed, and taken away."""
    path = project / "AGENTS.md"
    path.write_bytes(put(project).replace(b"-->\n\n", b"-->\n").replace(b"\n\n-", b"\n\n\n-"))

    change = module.plan(project, AGENTS, wanted=False, force=False)

    assert change
    assert change.action == "updated"
