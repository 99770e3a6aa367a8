"""What asyncio/cancellation says of Python 3.11, 3.12 and 3.13."""

from tests.harness import confirms
from tests.harness.interpreters import run_on

RULE = "asyncio/cancellation"
BEFORE = ("3.11", "3.12")

START = """
import asyncio

async def turns(count):
    for _ in range(count):
        await asyncio.sleep(0)

async def cancelled_once(job):
    task = asyncio.create_task(job())
    await turns(3)
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled()
"""

CLEANUP_FAILS = """
async def fails_on_cancel():
    try:
        await asyncio.sleep(60)
    finally:
        raise ValueError

async def handle():
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails_on_cancel())
    except* ValueError:
        pass
"""

LOST_AND_GUARDED = """
async def lost():
    await handle()
    await asyncio.sleep(0)

async def guarded():
    await handle()
    if asyncio.current_task().cancelling():
        raise asyncio.CancelledError
    await asyncio.sleep(0)

print(*[asyncio.run(cancelled_once(job)) for job in (lost, guarded)])
"""

NESTED = """
async def fail():
    await asyncio.sleep(0)
    raise ValueError

async def job():
    try:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(fail())
            try:
                async with asyncio.TaskGroup() as inner:
                    inner.create_task(fail())
            except* ValueError:
                pass
            await asyncio.Event().wait()
    except* ValueError:
        pass

async def main():
    task = asyncio.create_task(job())
    await turns(50)
    print("done" if task.done() else "hangs")
    task.cancel()
    await asyncio.wait([task])

asyncio.run(main())
"""


@confirms(RULE, "3-11-and-3-12-lose-cancels")
def a_cancel_is_lost_when_a_childs_cleanup_fails():
    """Up to 3.12 the task ends uncancelled after `except*`; with the guard it does not."""
    script = START + CLEANUP_FAILS + LOST_AND_GUARDED

    assert [run_on(version, script) for version in BEFORE] == ["False True", "False True"]
    assert run_on("3.13", script) == "True True"


@confirms(RULE, "3-11-and-3-12-lose-cancels")
def two_groups_failing_together_hang():
    """Up to 3.12 the outer group's body waits for ever after both groups failed in one turn."""
    assert [run_on(version, START + NESTED) for version in BEFORE] == ["hangs", "hangs"]
    assert run_on("3.13", START + NESTED) == "done"
