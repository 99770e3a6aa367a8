"""Proofs of rules/asyncio/structured-concurrency.md: its pairs."""

import asyncio
import contextvars
import statistics
import threading
from itertools import pairwise

from tests.harness import confirms, proves
from tests.observers.loop_lag import loop_lag
from tests.observers.waiting import reached, turns, until

caller: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default="nobody")


class Running:
    """Count what runs at the same time, on a loop or in threads."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.peak = max(self.peak, self.now)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self.now -= 1


@proves("asyncio/structured-concurrency", "share-one-iterator-between-workers")
async def the_source_is_read_far_ahead_of_the_work(half):
    """Items leave the source long before they are handled, or the loop is kept from others."""
    read, read_ahead, handled, running = 0, 0, [], Running()

    def items():
        nonlocal read
        for number in range(200):
            read += 1
            yield str(number)

    async def handle(item):
        nonlocal read_ahead
        read_ahead = max(read_ahead, read - len(handled))
        with running:
            await turns(1 + len(item))
        handled.append(item)

    await half.process(items(), handle, 5)
    assert sorted(handled, key=int) == [str(number) for number in range(200)]
    assert running.peak == 5

    turns_elsewhere, seen = 0, []

    async def work_elsewhere():
        nonlocal turns_elsewhere
        while True:
            turns_elsewhere += 1
            await asyncio.sleep(0)

    async def find_in_cache(item):
        seen.append(turns_elsewhere)

    neighbour = asyncio.create_task(work_elsewhere())
    await half.process(map(str, range(50)), find_in_cache, 5)
    neighbour.cancel()
    assert len(seen) == 50

    return read_ahead > 5 or seen[0] == seen[-1]


@proves("asyncio/structured-concurrency", "make-one-limiter-per-downstream")
async def a_burst_of_calls_goes_out_at_once(half):
    """Calls start closer together than the rate allows, or more than ten are in flight."""
    clock, starts, gap = asyncio.get_running_loop().time, [], 0.02

    async def get(path):
        starts.append(clock())
        return path.encode()

    paced = half.Downstream(get, 1 / gap)
    assert await asyncio.gather(*(paced.fetch("x") for _ in range(9))) == [b"x"] * 9
    between = [later - earlier for earlier, later in pairwise(starts)]

    release, running = asyncio.Event(), Running()

    async def get_when_released(path):
        with running:
            await release.wait()
        return path.encode()

    unpaced = half.Downstream(get_when_released, 1_000_000)
    calls = [asyncio.create_task(unpaced.fetch(str(number))) for number in range(25)]
    assert await until(lambda: running.now >= 10)
    crowded = await until(lambda: running.now > 10, limit=0.2)
    release.set()
    assert await asyncio.gather(*calls) == [b"%d" % number for number in range(25)]

    return crowded or statistics.median(between) < gap / 2


@confirms("asyncio/structured-concurrency", "blocking-calls-on-the-loop")
async def the_loop_stands_still_during_a_blocking_call():
    """No other task runs while a password is compared, unless a thread does it."""

    def matches(password):
        return lag.advances()

    with loop_lag() as lag:
        assert matches("secret") is False
        assert await asyncio.to_thread(matches, "secret") is True


@proves("asyncio/structured-concurrency", "let-the-executor-be-the-limit")
async def more_threads_run_than_the_limit(half):
    """After a timeout the next call starts beside the thread that still works."""
    gate, running, drawn, seen = threading.Event(), Running(), [], []
    loop = asyncio.get_running_loop()

    def draw(page):
        with running:
            drawn.append(page)
            seen.append(caller.get())
            if page.startswith("slow"):
                loop.call_soon_threadsafe(started.set)
                gate.wait(5)
        return page.encode()

    async def impatient(page):
        async with asyncio.timeout(None) as deadline:
            deadlines.append(deadline)
            await renderer.render(page)

    started, deadlines, renderer = asyncio.Event(), [], half.Renderer(draw, 1)
    try:
        caller.set("request 1")
        assert await renderer.render("quick") == b"quick"
        assert seen == ["request 1"]

        first = asyncio.create_task(impatient("slow 1"))
        await reached(started, first)
        deadlines[0].reschedule(loop.time())
        await asyncio.wait({first}, timeout=2)
        assert isinstance(first.exception(), TimeoutError)

        second = asyncio.create_task(impatient("slow 2"))
        overtaken = await until(lambda: running.now > 1, limit=0.3)
        deadlines[1].reschedule(loop.time())
        await asyncio.wait({second}, timeout=2)
        assert isinstance(second.exception(), TimeoutError)
    finally:
        gate.set()
    assert await until(lambda: running.now == 0)
    assert await renderer.render("next") == b"next"

    # What timed out while it was queued must not run later either.
    return overtaken or "slow 2" in drawn
