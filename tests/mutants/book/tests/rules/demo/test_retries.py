"""What demo/retries claims, seen to happen."""

import asyncio

from tests.harness import confirms, proves
from tests.observers.waiting import reached


@proves("demo/retries", "retry-loops")
async def poll_fetches_again_after_one_cancel(half):
    """A task cancelled once goes on to fetch again."""
    calls, started = 0, asyncio.Event()

    async def fetch():
        nonlocal calls
        calls += 1
        if calls == 1:
            started.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(half.poll(fetch))
    await reached(started, task)
    task.cancel()
    await asyncio.wait({task}, timeout=1)

    return calls > 1


@proves("demo/retries", "count-attempts")
def one_attempt_too_many(half):
    """Asked for three attempts, it plans four."""
    planned = half.attempts(3)
    assert planned[:3] == [0, 1, 2]

    return len(planned) > 3


@confirms("demo/retries", "a-closed-circle")
def a_circle_is_closed():
    """A circle has no end to join."""
    assert not "".join([])
