"""The error texts of demo, produced."""

from tests.harness.errors import produces


@produces("demo", "cannot join a closed circle")
def joining_fails():
    """Joining a circle fails."""
    return "cannot join" + " a closed circle"


@produces("demo", "cannot join a closed circle of friends")
def joining_friends_fails():
    """Joining friends fails."""
    return "cannot join" + " a closed circle of friends"
