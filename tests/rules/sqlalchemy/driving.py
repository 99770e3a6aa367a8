"""An async test that no claim of a page needs: what the page's code promises beyond its prose."""

import functools

from tests.harness.judge import run


def driven(test):
    """Run a test in an event loop of its own, for ten seconds at most."""

    @functools.wraps(test)
    def drive(**fixtures):
        run(test, 10, **fixtures)

    return drive
