"""What rules/asyncio/taskgroup.md says of errors: how they arrive, and how they get lost."""

import asyncio
import gc

import pytest

from tests.harness import confirms
from tests.observers.waiting import turns

RULE = "asyncio/taskgroup"


async def answer(value):
    return value


async def fail(error):
    raise error


async def forever():
    await asyncio.Event().wait()


async def load(*errors):
    async with asyncio.TaskGroup() as group:
        for error in errors:
            group.create_task(fail(error))


async def raised_by(coroutine):
    try:
        await coroutine
    except BaseException as error:
        return type(error)


def why_not_python(source):
    try:
        compile(source, "example", "exec")
    except SyntaxError as error:
        return error.msg


@confirms(RULE, "except-around-a-group")
async def the_healthy_child_is_cancelled_before_except_star_runs():
    """When except* runs, a child that did not fail has been cancelled and its answer is gone."""
    try:
        async with asyncio.TaskGroup() as group:
            healthy = group.create_task(forever())
            group.create_task(fail(OSError()))
    except* OSError:
        seen = healthy.cancelled()

    assert seen


@confirms(RULE, "except-around-a-group")
def what_except_star_does_not_allow():
    """Leaving the block and mixing are syntax errors; catching a group is a TypeError later."""
    legal = "try: f()\nexcept* OSError: failed = True"
    illegal = [
        "def g():\n    try: f()\n    except* OSError: return",
        "for x in y:\n    try: f()\n    except* OSError: break",
        "for x in y:\n    try: f()\n    except* OSError: continue",
        "try: f()\nexcept* OSError: pass\nexcept KeyError: pass",
    ]
    assert why_not_python(legal) is None
    assert None not in map(why_not_python, illegal)
    with pytest.raises(TypeError):
        exec("try: raise OSError\nexcept* ExceptionGroup: pass")  # noqa: S102


@confirms(RULE, "except-around-a-group")
async def raising_from_except_star_may_make_a_group_again():
    """One raise that handles all is bare; two, or one beside a leftover, come out in a group."""

    async def translate(*errors):
        try:
            await load(*errors)
        except* KeyError as group:
            raise LookupError from group
        except* ValueError as group:
            raise LookupError from group

    assert await raised_by(translate(KeyError())) is LookupError
    assert await raised_by(translate(KeyError(), ValueError())) is ExceptionGroup
    assert await raised_by(translate(KeyError(), OSError())) is ExceptionGroup


@confirms(RULE, "a-cancelled-child-looks-like-success")
async def a_child_that_ends_cancelled_makes_its_reader_look_cancelled():
    """The group exits without an error, and result() raises past `except Exception`."""
    flow = []

    async def handle():
        async with asyncio.TaskGroup() as group:
            child = group.create_task(fail(asyncio.CancelledError()))
        flow.append(("left the group", child.cancelled()))
        try:
            return child.result()
        except Exception:
            return "handled"

    handler = asyncio.create_task(handle())
    await asyncio.wait({handler}, timeout=5)

    assert flow == [("left the group", True)]
    assert handler.cancelled()


@confirms(RULE, "gather-hides-errors")
async def gather_raises_one_error_and_logs_none(caplog):
    """The second error is neither raised nor logged; a TaskGroup raises both."""
    errors = OSError("first"), ValueError("second")
    assert await raised_by(asyncio.gather(*map(fail, errors))) is OSError
    await turns()
    gc.collect()
    assert not caplog.records

    with pytest.raises(ExceptionGroup) as group:
        await load(*errors)

    assert len(group.value.exceptions) == 2


@confirms(RULE, "gather-hides-errors")
async def gather_returns_a_cancelled_error_as_data():
    """A filter on Exception keeps CancelledError among the results."""
    children = answer("a"), fail(OSError()), fail(asyncio.CancelledError())
    results = await asyncio.gather(*children, return_exceptions=True)

    kept = [each for each in results if not isinstance(each, Exception)]
    assert [type(each) for each in kept] == [str, asyncio.CancelledError]
    assert [each for each in results if not isinstance(each, BaseException)] == ["a"]


@confirms(RULE, "a-held-task-is-silent")
async def a_task_in_a_variable_reports_nothing_until_it_is_collected(caplog):
    """Its error reaches the log only when the last reference goes."""
    held = asyncio.create_task(fail(ValueError("no such order")))
    await turns()
    gc.collect()
    assert held.done()
    assert not caplog.records

    del held
    gc.collect()

    assert "no such order" in caplog.text
