"""scripts/lockfiles.py and requirements.py: what is broken is named, and breaks nothing."""

import random
from pathlib import Path

import pytest

from tests.test_lockfiles import (
    LOCKS,
    PIPFILE,
    POETRY,
    PYPROJECT,
    REQUIREMENTS,
    UV,
    lockfiles,
    requirements,
)


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("uv.lock", UV.replace('name = "fastapi"\nv', "name = \nv"), 16),
        ("uv.lock", UV[: UV.index("sdist") + 20], 19),
        ("uv.lock", "version = 1\n", 1),
        ("poetry.lock", POETRY + "<<<<<<< HEAD\n", POETRY.count("\n") + 1),
        ("Pipfile.lock", PIPFILE.replace('"develop"', "develop"), 17),
        ("Pipfile.lock", "[" * 100_000, 1),
        ("pylock.toml", f"a = {'[' * 5000}", 1),
        ("requirements.txt", REQUIREMENTS + "=======\n", 9),
        ("requirements.txt", "a==1\n-r missing.txt\n", 2),
        ("requirements.txt", b"a==1\nb\xff==1\n", 2),
        ("requirements.txt", "a==1\n".encode("utf-16-le"), 1),
        ("pyproject.toml", "[project]\nname = 'a\n", 2),
    ],
)
def test_a_malformed_file_is_named_with_its_line(
    name: str, text: str | bytes, line: int, tmp_path: Path
) -> None:
    """One error that says where, however the file is broken."""
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)

    with pytest.raises(requirements.Unreadable) as caught:
        lockfiles.read(tmp_path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize("name", [*LOCKS, "pyproject.toml"])
def test_no_broken_file_breaks_the_reader(name: str, tmp_path: Path) -> None:
    """Cut off and spoilt at 250 places each: read, or refused by its own error."""
    whole, chance = (LOCKS | {"pyproject.toml": PYPROJECT})[name].encode(), random.Random(10)  # noqa: S311
    path, refused = tmp_path / name, 0
    for _ in range(250):
        place = chance.randrange(len(whole))
        spoilt = bytearray(whole)
        spoilt[place : place + chance.randrange(4)] = chance.choice(
            [b"", b"\n", b"[", b"{", b'"', b"\\", b"\x00", b"\xff", b"=1", b"999999999999999999999"]
        )
        for text in (whole[:place], bytes(spoilt)):
            path.write_bytes(text)
            try:
                lockfiles.read(path)
            except requirements.Unreadable:
                refused += 1

    assert refused > 0
