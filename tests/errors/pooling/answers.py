"""What servers of these tests answer."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.servers.http import Answer, Request

CLOSE = {"Connection": "close"}  # of a request: the server hangs up after its answer


def answering(*answers: Answer) -> Callable[[Request], Awaitable[Answer]]:
    """A script that gives the answers in turn, the last one again and again."""
    left = list(answers)

    async def script(request: Request) -> Answer:
        return left.pop(0) if len(left) > 1 else left[0]

    return script


def slow(seconds: float) -> Callable[[Request], Awaitable[Answer]]:
    """A script that answers so much later."""

    async def script(request: Request) -> Answer:
        await asyncio.sleep(seconds)
        return Answer()

    return script
