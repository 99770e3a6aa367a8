"""A project, and a skill of few files that is installed into it."""

from pathlib import Path

import pytest

from tests.install.small import small_skill


@pytest.fixture(autouse=True)
def skill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is installed, unless a test names another root."""
    root = small_skill(tmp_path / "skill")
    monkeypatch.setattr("rulebook.cli.ROOT", root)
    return root


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    return path
