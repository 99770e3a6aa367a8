"""`npx skills add`, over git, by its versions on Node.js 20 and 22."""

import pytest

from tests.channels import programs
from tests.channels.origin import NAME
from tests.channels.user import User, content, dead_links

DIST = f"{NAME}#dist"
# The default branch, and what a user types.
ROUTES = [("dist", NAME), ("dist", DIST), ("main", DIST)]


def add(user: User, package: str, spec: str) -> None:
    options = ["-a", "claude-code", "codex", "-y"]
    user.run(*programs.skills(package), "add", spec, *options)


def arrived(user: User) -> dict[str, dict[str, str]]:
    """Every copy of the skill in the project, and every other file as one."""
    folders = sorted(user.project.glob("*/skills/python-backend"))
    copies = {folder.parts[-3]: content(folder) for folder in folders}
    rest = [path.name for path in user.project.iterdir() if path.is_file()]
    return copies | {name: {} for name in rest}


def expected(user: User) -> dict[str, dict[str, str]]:
    """The payload in both agents' folders, and the file in which the CLI keeps its books."""
    shipped = user.origin.shipped()
    return dict.fromkeys([".agents", ".claude"], shipped) | {"skills-lock.json": {}}


@pytest.mark.parametrize("head", ["main"])
def test_exactly_the_payload_arrives_on_node_20(user: User, head: str) -> None:
    """By the version that npx picks there, from the branch dist beside main."""
    add(user, programs.SKILLS[1], DIST)

    assert arrived(user) == expected(user)


@pytest.mark.parametrize(("head", "spec"), ROUTES)
@pytest.mark.parametrize("package", programs.SKILLS)
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_exactly_the_payload_arrives(user: User, head: str, spec: str, package: str) -> None:
    """By every version and every route."""
    add(user, package, spec)

    assert arrived(user) == expected(user)


@pytest.mark.parametrize("head", ["dist"])
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_links_resolve_where_it_is_installed(user: User, head: str) -> None:
    """An agent that follows a link finds the file, through the link to the folder too."""
    add(user, programs.SKILLS[-1], NAME)

    assert dead_links(user.project / ".claude" / "skills" / "python-backend") == []
