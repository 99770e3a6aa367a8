"""`.ci/dist`: what a release puts on the branch dist, and when it does not."""

from pathlib import Path

import pytest

from tests.channels.origin import Origin, git, make_origin, run

pytestmark = pytest.mark.slow


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return make_origin(tmp_path, "main")


def refs(origin: Origin) -> str:
    return git(origin.clone, "for-each-ref")


def test_a_release_is_one_commit_and_a_tag(origin: Origin) -> None:
    """The branch's history is the list of releases."""
    origin.release("0.1.1")
    subjects = git(origin.bare, "log", "--format=%s", "dist").splitlines()

    assert subjects[:2] == ["v0.1.1", "v0.1.0"]
    assert git(origin.bare, "rev-parse", "dist-v0.1.1") == git(origin.bare, "rev-parse", "dist")


def test_a_fresh_clone_goes_on_with_the_branch(origin: Origin) -> None:
    """As in the workflow: a tag is checked out, and dist is a branch of the remote alone."""
    fresh = origin.clone.with_name("fresh")
    git(origin.clone.parent, "clone", "-q", str(origin.bare), "fresh")
    git(fresh, "checkout", "-q", "--detach", "main")
    run(fresh, fresh / ".ci" / "dist", "v0.1.1", "some-body")

    assert git(fresh, "merge-base", "dist", "origin/dist") == git(fresh, "rev-parse", "origin/dist")
    assert "some-body/python-backend" in git(fresh, "show", "dist:README.md")


def test_a_release_may_be_repeated(origin: Origin) -> None:
    """A workflow that failed later is run again as a whole."""
    before = refs(origin)
    origin.publish("0.1.0")

    assert refs(origin) == before


def test_a_release_keeps_what_it_held(origin: Origin) -> None:
    """Under the same name nothing else is published: whoever pinned it would get another thing."""
    origin.release("0.1.1")
    git(origin.clone, "checkout", "-q", "HEAD~")
    with pytest.raises(RuntimeError, match=r"tag 'dist-v0\.1\.1' already exists"):
        origin.publish("0.1.1")

    assert git(origin.bare, "log", "-1", "--format=%s", "dist") == "v0.1.1\n"


@pytest.mark.parametrize("name", ["README.md", "rules/asyncio/new.md"])
def test_what_is_not_committed_is_not_released(origin: Origin, name: str) -> None:
    """Neither an edit nor a new file."""
    before = refs(origin)
    (origin.clone / name).write_text("mine", encoding="utf-8")
    with pytest.raises(RuntimeError, match="is not committed"):
        origin.publish("0.1.1")

    assert refs(origin) == before


def test_it_leaves_no_worktree_behind(origin: Origin) -> None:
    """The clone is the one worktree again."""
    assert len(git(origin.clone, "worktree", "list").splitlines()) == 1
