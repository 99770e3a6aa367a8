"""What one piece of asynchronous code costs more than another, in CPU."""

import time
from collections.abc import Awaitable, Callable

Run = Callable[[], Awaitable[object]]


async def cpu_ratio(dearer: Run, cheaper: Run, *, rounds: int = 15, runs: int = 20) -> float:
    """How many times the CPU of this thread one takes of the other.

    They take turns, and the cheapest round of each counts: what else the machine does can only
    make a round dearer. What runs in other threads or processes, as a server does, is not seen.
    """
    best = [float("inf"), float("inf")]
    for round_ in range(rounds + 1):
        for which, run in enumerate((dearer, cheaper)):
            before = time.thread_time()
            for _ in range(runs):
                await run()
            if round_:  # the first one fills caches
                best[which] = min(best[which], time.thread_time() - before)
    return best[0] / best[1]
