"""Proofs of rules/asyncio/taskgroup.md: its pairs, its symptoms, and what their halves promise."""

import asyncio
import gc
import weakref

from fastapi import FastAPI, HTTPException

from tests.harness import confirms, correct, proves
from tests.observers.asgi import request
from tests.observers.waiting import reached, turns
from tests.rules.asyncio.test_taskgroup_traps import answer, fail

RULE = "asyncio/taskgroup"
SPLIT = "split-the-group-at-the-api-boundary"


@proves(RULE, SPLIT)
async def a_missing_row_in_a_child_is_a_500(half):
    """A domain error raised in a child reaches the client as 500, not as its own status."""
    loads = {
        "found": lambda: [answer("user"), answer("team")],
        "fault": lambda: [fail(half.NotFound()), fail(OSError())],
        "slow": lambda: [answer("user"), asyncio.Event().wait()],
        "missing": lambda: [fail(half.NotFound()), answer("team")],
        "twice": lambda: [fail(half.NotFound()), nested(fail(half.NotFound()))],
    }
    app = FastAPI()

    async def nested(load):
        async with asyncio.TaskGroup() as group:
            group.create_task(load)

    @app.get("/{case}")
    async def read(case: str):
        return await half.load_all(0.05 if case == "slow" else 5, *loads[case]())

    assert (await request(app, "/found")).json() == ["user", "team"]
    assert (await request(app, "/fault")).status == 500
    assert (await request(app, "/slow")).status == 504
    statuses = [(await request(app, path)).status for path in ("/missing", "/twice")]

    assert statuses in ([404, 404], [500, 500])
    return statuses == [500, 500]


@proves(RULE, "keep-partial-results")
async def one_failure_loses_every_answer(half):
    """One source that fails or is late costs the answers of all, and the rest runs unowned."""
    released, ended = asyncio.Event(), []

    async def healthy():
        await released.wait()
        ended.append("healthy")
        return "here"

    async def outcome(limit, **sources):
        try:
            return await half.ask_all(sources, limit, (OSError,))
        except Exception as error:
            return error

    both = await outcome(5, left=answer("l"), right=answer("r"))
    assert both == {"left": "l", "right": "r"}
    bug = await outcome(0.05, stuck=asyncio.Event().wait(), bug=fail(TypeError()))
    assert isinstance(bug, Exception)

    failing = asyncio.create_task(outcome(5, healthy=healthy(), broken=fail(OSError())))
    await turns()
    gave_up_early = failing.done() and not ended
    released.set()
    lost_by_failure = await failing != {"healthy": "here"}
    await turns()
    assert ended == ["healthy"]  # it took effect whether anybody waited or not

    late = await outcome(0.05, fast=answer("f"), late=asyncio.Event().wait())
    lost_by_deadline = late != {"fast": "f"}

    shows = {gave_up_early, lost_by_failure, lost_by_deadline}
    assert len(shows) == 1, "the parts of the symptom did not come together"
    return shows.pop()


@proves(RULE, "own-background-tasks")
async def accepted_work_is_lost(half, caplog):
    """A spawned job is collected while it waits, or ends with the server before it is done."""
    done, quick_is_done = [], asyncio.Event()
    waits_for = None

    async def quick():
        quick_is_done.set()

    async def waiting():
        nonlocal waits_for
        future = asyncio.get_running_loop().create_future()
        waits_for = weakref.ref(future)  # as with an answer that only the other side holds
        await future
        done.append("waiting")

    async def slow():
        await turns(20)
        done.append("slow")

    half.spawn(quick())
    await reached(quick_is_done, limit=1)
    half.spawn(fail(ValueError("no such order")))
    await turns()
    gc.collect()
    assert "no such order" in caplog.text
    half.spawn(waiting())
    await turns()
    gc.collect()
    future = waits_for()
    collected = future is None
    if future is not None:
        future.set_result(None)
    half.spawn(slow())
    await half.drain()
    dropped = "slow" not in done

    assert collected is dropped, "the parts of the symptom did not come together"
    assert collected is ("waiting" not in done)
    return collected


@confirms(RULE, "timeout-inside-the-group")
async def a_failing_load_cancels_the_others_and_a_deadline_is_bare():
    """The correct half leaves no task behind, on an error or at its deadline."""
    before = asyncio.all_tasks()
    half = correct(RULE, SPLIT)
    seen = []
    for limit, load in ((5, fail(half.NotFound())), (0.01, asyncio.Event().wait())):
        try:
            await half.load_all(limit, load, asyncio.Event().wait())
        except HTTPException as error:
            seen.append((error.status_code, type(error.__cause__)))

    assert seen == [(404, ExceptionGroup), (504, TimeoutError)]
    assert asyncio.all_tasks() == before


@confirms(RULE, "a-held-task-is-silent")
async def a_job_that_fails_is_logged_at_once(caplog):
    """With the correct half an error is in the log as soon as the job ends, and is let go."""
    half = correct(RULE, "own-background-tasks")

    half.spawn(fail(ValueError("no such order")))
    await turns()

    (record,) = caplog.records
    assert "no such order" in str(record.exc_info)
    assert record.name == half.__name__
    assert not half.tasks


@confirms(RULE, "handlers-that-miss-a-group")
async def an_http_exception_or_a_timeout_in_a_load_stays_in_the_group():
    """Neither counts as a domain error or as the deadline of the correct half."""
    half, seen = correct(RULE, SPLIT), []
    for error in (HTTPException(403), TimeoutError()):
        try:
            await half.load_all(5, fail(error), fail(half.NotFound()))
        except ExceptionGroup as group:
            seen.append({type(each) for each in group.exceptions})

    assert seen == [{HTTPException, half.NotFound}, {TimeoutError, half.NotFound}]
