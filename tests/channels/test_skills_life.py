"""What comes after `npx skills add`: updates, a pinned version, the older name of the program."""

import pytest

from tests.channels import programs
from tests.channels.origin import NAME
from tests.channels.test_skills import DIST, ROUTES, add, arrived, expected
from tests.channels.user import User

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
OLDER, NEWEST = programs.SKILLS[:2], programs.SKILLS[2]


def update(user: User, package: str) -> str:
    return user.run(*programs.skills(package), "update", "-p", "-y")


def unasked(copies: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """All but the copy in `agent/`, which every update adds with a SKILL.md of its own writing."""
    return {name: copy for name, copy in copies.items() if name != "agent"}


@pytest.mark.parametrize(("head", "spec"), ROUTES)
def test_a_change_of_tests_is_no_update(user: User, head: str, spec: str) -> None:
    """Users hear of releases, not of commits."""
    add(user, NEWEST, spec)
    user.origin.touch_tests()

    assert "up to date" in update(user, NEWEST)


@pytest.mark.parametrize(("head", "spec"), [ROUTES[0], ROUTES[2]])
def test_a_release_is_an_update(user: User, head: str, spec: str) -> None:
    """Both agents read the new payload."""
    add(user, NEWEST, spec)
    user.origin.release("0.1.1")
    update(user, NEWEST)

    assert unasked(arrived(user)) == expected(user)


@pytest.mark.parametrize("head", ["main"])
@pytest.mark.parametrize("package", OLDER)
def test_older_versions_update_too(user: User, head: str, package: str) -> None:
    """They install again each time they are asked."""
    add(user, package, DIST)
    user.origin.release("0.1.1")
    update(user, package)

    assert unasked(arrived(user)) == expected(user)


@pytest.mark.parametrize("head", ["dist"])
def test_a_pinned_release_stays(user: User, head: str) -> None:
    """`#dist-v0.1.0` is the way to hold a project at a version."""
    before = expected(user)
    add(user, NEWEST, f"{NAME}#dist-v0.1.0")
    user.origin.release("0.1.1")
    update(user, NEWEST)

    assert arrived(user) == before


@pytest.mark.parametrize(("head", "spec"), ROUTES)
def test_the_older_name_of_the_program_installs_it(user: User, head: str, spec: str) -> None:
    """`npx add-skill` hands over to `npx skills add`, here the one that is installed."""
    tools = {"npm_config_prefix": programs.as_global(programs.SKILLS[1])}
    npm = tools | {"npm_config_cache": str(programs.CACHE), "HTTPS_PROXY": "", "HTTP_PROXY": ""}
    options = ["-a", "claude-code", "codex", "-y"]
    user.run("npx", "--yes", programs.ADD_SKILL, spec, *options, **npm)

    assert arrived(user) == expected(user)
