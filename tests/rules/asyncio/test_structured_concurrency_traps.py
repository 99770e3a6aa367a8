"""Tests of rules/asyncio/structured-concurrency.md: limits, queues, versions."""

import asyncio

import pytest

from tests.harness import confirms, correct
from tests.harness.interpreters import run_on


@confirms("asyncio/structured-concurrency", "semaphore-as-a-rate-limit")
async def a_shared_semaphore_of_five_lets_far_more_than_five_start_per_second():
    """Five at a time is five per duration of a call; the correct limiter spaces the starts."""
    half = correct("asyncio/structured-concurrency", "make-one-limiter-per-downstream")
    clock, slots = asyncio.get_running_loop().time, asyncio.Semaphore(5)
    starts = []

    async def get(path):
        starts.append(clock())
        await asyncio.sleep(0.02)
        return b""

    async def fetch(path):
        async with slots:
            return await get(path)

    async def starts_per_second(fetch, count):
        starts.clear()
        await asyncio.gather(*(fetch("x") for _ in range(count)))
        return (count - 1) / (starts[-1] - starts[0])

    assert await starts_per_second(fetch, 40) > 5 * 5
    assert await starts_per_second(half.Downstream(get, 50).fetch, 10) < 50 * 1.2


@confirms("asyncio/structured-concurrency", "slot-held-too-widely")
async def a_slot_held_for_children_deadlocks_and_a_deadline_around_it_counts_the_queue():
    """Released before the children start, the same tree finishes; inside, the deadline holds."""
    slots, reads = asyncio.Semaphore(2), []

    async def read(depth):
        await asyncio.sleep(0)
        reads.append(depth)

    async def descend(crawl, depth):
        async with asyncio.TaskGroup() as group:
            for _ in range(2 if depth else 0):
                group.create_task(crawl(depth - 1))

    async def crawl_holding(depth):
        async with slots:
            await read(depth)
            await descend(crawl_holding, depth)

    async def crawl(depth):
        async with slots:
            await read(depth)
        await descend(crawl, depth)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await descend(crawl_holding, 2)
    assert reads == [1, 1]
    await descend(crawl, 2)
    assert len(reads) == 2 + 6

    slot, began = asyncio.Semaphore(1), []

    async def call():
        began.append(1)

    async def with_deadline_outside():
        async with asyncio.timeout(0.02), slot:
            await call()

    async def with_deadline_inside():
        async with slot, asyncio.timeout(0.02):
            await call()

    await slot.acquire()
    patient = asyncio.create_task(with_deadline_inside())
    with pytest.raises(TimeoutError):
        await with_deadline_outside()
    assert began == []
    slot.release()
    await patient

    assert began == [1]


@confirms("asyncio/structured-concurrency", "queue-join-and-dead-workers")
async def join_waits_for_a_dead_worker_and_a_group_does_not():
    """In one group with the producer the worker's error ends both; a None per worker ends it."""
    handled = []

    async def handle(item):
        if item == "bad":
            raise ValueError(item)
        handled.append(item)

    async def worker(queue):
        while (item := await queue.get()) is not None:
            await handle(item)
            queue.task_done()

    async def produce(items):
        queue = asyncio.Queue(maxsize=1)
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(worker(queue))
            for item in items:
                await queue.put(item)
            for _ in range(2):
                await queue.put(None)

    queue = asyncio.Queue()
    for item in ("bad", "good"):
        queue.put_nowait(item)
    dead = asyncio.create_task(worker(queue))
    await asyncio.wait({dead}, timeout=5)
    assert isinstance(dead.exception(), ValueError)
    join = asyncio.create_task(queue.join())
    _, waiting = await asyncio.wait({join}, timeout=0.1)
    join.cancel()
    assert waiting == {join}

    await produce(["good"] * 9)
    assert handled == ["good"] * 9
    with pytest.raises(ExceptionGroup) as caught:
        await produce(["bad"] * 9)
    assert caught.group_contains(ValueError, match="bad")


async def share(source, handle, workers=2):
    """Let several workers iterate over one async generator."""

    async def worker():
        async for item in source:
            await handle(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(worker())


async def numbers(suspend):
    for number in range(6):
        if suspend:
            await asyncio.sleep(0)
        yield number


@confirms("asyncio/structured-concurrency", "workers-over-an-async-generator")
async def a_generator_shared_by_workers_raises_once_it_suspends():
    """One that never suspends hides it; a single task that feeds a queue is right for both."""
    seen = []

    async def handle(item):
        seen.append(item)
        await asyncio.sleep(0)

    async def feed(source, queue):
        async for item in source:
            await queue.put(item)
        await queue.put(None)
        await queue.put(None)

    async def worker(queue):
        while (item := await queue.get()) is not None:
            await handle(item)

    await share(numbers(suspend=False), handle)
    assert sorted(seen) == list(range(6))
    with pytest.raises(ExceptionGroup) as caught:
        await share(numbers(suspend=True), handle)
    assert caught.group_contains(RuntimeError, match="already running")

    seen.clear()
    queue = asyncio.Queue(maxsize=2)
    async with asyncio.TaskGroup() as group:
        group.create_task(feed(numbers(suspend=True), queue))
        for _ in range(2):
            group.create_task(worker(queue))
    assert sorted(seen) == list(range(6))


SHUTDOWN = """
import asyncio
handled = []
async def worker(queue):
    try:
        while True:
            handled.append(await queue.get())
            await asyncio.sleep(0)
    except asyncio.QueueShutDown:
        return
async def main():
    queue = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(worker(queue))
        for number in range(5):
            await queue.put(number)
        queue.shutdown()
print(hasattr(asyncio.Queue, "shutdown"))
if hasattr(asyncio.Queue, "shutdown"):
    asyncio.run(main())
print(sorted(handled))
"""


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
@confirms("asyncio/structured-concurrency", "queue-shutdown-needs-3-13", limit=30)
def a_queue_can_be_shut_down_from_3_13(version):
    """Every item is handled and every worker ends, without a None in the queue."""
    expected = "True\n[0, 1, 2, 3, 4]" if version == "3.13" else "False\n[]"

    assert run_on(version, SHUTDOWN) == expected
