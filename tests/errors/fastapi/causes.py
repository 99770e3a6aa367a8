"""One text, several causes."""

from collections.abc import Awaitable, Callable

from tests.harness.record import told


async def texts(cured: bool, *causes: Callable[[bool], Awaitable[object]]) -> str:
    """What several causes of one text write, one after another. Cured, none of them may raise."""
    written = []
    for cause in causes:
        try:
            written.append(str(await cause(cured)))
        except Exception as error:
            if cured or type(error) is AssertionError:  # the test's own
                raise
            written.append(told(error))
    return "\n".join(written)
