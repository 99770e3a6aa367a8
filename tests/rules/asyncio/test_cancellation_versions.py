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

SAME_TURN = """
async def ends_in_the_turn_of_the_cancel(limited):
    ends = asyncio.get_running_loop().create_future()

    async def call():
        return await ends

    task = asyncio.create_task(limited(call))
    await turns(3)
    ends.set_result(None)
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled()

async def with_wait_for(call):
    await asyncio.wait_for(call(), 60)

async def with_timeout(call):
    async with asyncio.timeout(60):
        await call()

callers = with_wait_for, with_timeout
print(*[asyncio.run(ends_in_the_turn_of_the_cancel(each)) for each in callers])
"""


@confirms(RULE, "3-11-and-3-12-lose-cancels")
def a_cancel_is_lost_when_a_childs_cleanup_fails():
    """Up to 3.12 the task ends uncancelled after `except*`; with the guard it does not."""
    script = START + CLEANUP_FAILS + LOST_AND_GUARDED

    assert [run_on(version, script) for version in BEFORE] == ["False True", "False True"]
    assert run_on("3.13", script) == "True True"


@confirms(RULE, "3-11-and-3-12-lose-cancels")
def wait_for_loses_a_cancel_of_the_turn_it_ends_in():
    """On 3.11 its caller goes on; under timeout(), and from 3.12 on, the caller is cancelled."""
    script = START + SAME_TURN

    assert run_on("3.11", script) == "False True"
    assert [run_on(version, script) for version in ("3.12", "3.13")] == ["True True", "True True"]
