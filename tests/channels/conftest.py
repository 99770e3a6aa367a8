"""A user, and the repository as a server on loopback offers it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.channels.origin import make_origin
from tests.channels.user import User, make_user
from tests.servers.githttp import git_server


@pytest.fixture
def user(head: str, tmp_path: Path) -> Iterator[User]:
    """A user of the repository whose default branch is `head`, a parameter of the test."""
    origin = make_origin(tmp_path, head)
    with git_server(tmp_path / "served") as server:
        yield make_user(tmp_path, origin, server)
