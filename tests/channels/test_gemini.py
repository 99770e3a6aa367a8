"""`gemini skills install`, over git: it takes the default branch, and knows no other."""

import pytest

from tests.channels import programs
from tests.channels.user import User, content

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def install(user: User) -> dict[str, str]:
    """Install it into the project; its files."""
    options = ["--path", "skills", "--scope", "workspace", "--consent"]
    # By its address on loopback: the program lets git read no settings.
    user.run(*programs.script(programs.GEMINI), "skills", "install", user.address, *options)
    return content(user.project / ".gemini" / "skills" / "python-backend")


@pytest.mark.parametrize("head", ["dist"])
def test_exactly_the_payload_arrives(user: User, head: str) -> None:
    """From a repository whose default branch is dist."""
    assert install(user) == user.origin.shipped()


@pytest.mark.parametrize("head", ["dist"])
def test_a_release_arrives_by_installing_again(user: User, head: str) -> None:
    """There is no update command, and no file of the old version stays."""
    install(user)
    user.origin.release("0.1.1")

    assert install(user) == user.origin.shipped()
