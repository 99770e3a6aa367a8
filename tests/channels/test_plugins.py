"""The skill as a plugin: Claude Code, Codex and Copilot read one marketplace, over git."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.channels import programs
from tests.channels.origin import NAME
from tests.channels.user import User, content, dead_links

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
DIST = f"{NAME}#dist"
PLUGIN = "python-backend@python-backend"


@dataclass(frozen=True)
class Agent:
    """How an agent's program is told to install and update; `folder` is where plugins go."""

    name: str
    command: Callable[[], list[str | Path]]
    install: str
    updates: Sequence[Sequence[str]]
    folder: str
    adds: frozenset[str]  # what it writes beside the payload

    def run(self, user: User, *arguments: str) -> str:
        return user.run(*self.command(), "plugin", *arguments)

    def add(self, user: User, spec: str) -> None:
        self.run(user, "marketplace", "add", spec)
        self.run(user, self.install, PLUGIN)

    def update(self, user: User) -> str:
        return "".join(self.run(user, *arguments) for arguments in self.updates)

    def installed(self, user: User) -> Path:
        """The plugin's one folder; Claude Code keeps the one before, and marks it."""
        found = [path.parent for path in (user.home / self.folder).rglob("SKILL.md")]
        (folder,) = [path for path in found if not (path / ".orphaned_at").exists()]
        return folder

    def arrived(self, user: User) -> dict[str, str]:
        """The files of the installed plugin, without what the agent adds of its own."""
        files = content(self.installed(user))
        return {name: data for name, data in files.items() if name.split("/")[0] not in self.adds}


CLAUDE = Agent(
    name="claude",
    command=programs.claude,
    install="install",
    updates=[("marketplace", "update"), ("update", PLUGIN)],
    folder=".claude/plugins/cache",
    adds=frozenset({".in_use"}),
)
CODEX = Agent(
    name="codex",
    command=lambda: programs.script(programs.CODEX),
    install="add",
    updates=[("marketplace", "upgrade")],
    folder=".codex/plugins/cache",
    adds=frozenset({".codex-plugin"}),
)
COPILOT = Agent(
    name="copilot",
    command=lambda: programs.script(programs.COPILOT),
    install="install",
    updates=[("marketplace", "update", "python-backend"), ("update", PLUGIN)],
    folder=".copilot/installed-plugins",
    adds=frozenset(),
)
ROUTES = [
    (agent, head, spec)
    for agent in (CLAUDE, CODEX, COPILOT)
    for head, spec in [("dist", NAME), ("dist", DIST), ("main", DIST), ("main", NAME)]
    if (agent, head, spec) != (COPILOT, "main", NAME)  # it knows no git-subdir
]
SHORTEST = [route for route in ROUTES if route[2] == NAME]


def over(routes: list[tuple[Agent, str, str]]) -> pytest.MarkDecorator:
    ids = [f"{agent.name}-{head}-{spec}" for agent, head, spec in routes]
    return pytest.mark.parametrize(("agent", "head", "spec"), routes, ids=ids)


@over(ROUTES)
def test_exactly_the_payload_arrives(user: User, agent: Agent, head: str, spec: str) -> None:
    """By every route, and its links resolve there."""
    agent.add(user, spec)

    assert agent.arrived(user) == user.origin.shipped()
    assert dead_links(agent.installed(user)) == []


@over(SHORTEST)
def test_a_change_of_tests_is_no_update(user: User, agent: Agent, head: str, spec: str) -> None:
    """The installed folder is the same one, with the same files."""
    agent.add(user, spec)
    before = agent.installed(user), agent.arrived(user)
    user.origin.touch_tests()
    agent.update(user)

    assert (agent.installed(user), agent.arrived(user)) == before


@over(SHORTEST)
def test_a_release_is_an_update(user: User, agent: Agent, head: str, spec: str) -> None:
    """The agent's own command brings it."""
    agent.add(user, spec)
    user.origin.release("0.1.1")
    agent.update(user)

    assert agent.arrived(user) == user.origin.shipped()


@pytest.mark.parametrize("head", ["dist", "main"])
@pytest.mark.parametrize("spec", [NAME, DIST])
def test_claude_installs_it_in_one_step(user: User, head: str, spec: str) -> None:
    """`claude plugin install NAME --marketplace REPOSITORY`."""
    CLAUDE.run(user, "install", "python-backend", "--marketplace", spec)

    assert CLAUDE.arrived(user) == user.origin.shipped()
