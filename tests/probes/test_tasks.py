"""The tasks probe: what still runs when the lifespan has ended."""

import asyncio

import pytest

from tests.harness.probing import found, judged, probed, told
from tests.probes.shop import LIST, shop, skus

JOB = "POST /jobs"


def starting(job):
    """A shop that starts a job with each request, and waits for none."""
    app, tasks = shop(), set()

    @app.post("/jobs")
    async def start() -> None:
        tasks.add(asyncio.create_task(job()))

    return app


async def short() -> None:
    await asyncio.sleep(0)


async def long() -> None:
    await asyncio.sleep(3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("job", "verdict"), [(short, "ok"), (long, "found")])
def test_a_task_that_outlives_the_lifespan_is_found(job, verdict) -> None:
    """Nothing waits for it, and a deploy cuts it."""
    verdicts = probed(starting(job), JOB, wanted="tasks")

    assert judged(verdicts, "tasks") == {verdict}


@pytest.mark.filterwarnings("ignore")
def test_the_task_is_named_by_what_started_it() -> None:
    """The reader finds the line of the `create_task`."""
    verdicts = probed(starting(long), JOB, wanted="tasks")

    assert "long, started at tests/probes/test_tasks.py:" in told(verdicts, "tasks")


@pytest.mark.filterwarnings("ignore")
def test_a_task_of_a_library_is_not_the_users(store) -> None:
    """SQLAlchemy and asyncpg start tasks of their own, also when a connection is terminated."""
    app = shop(store.url)
    app.get("/stock")(skus)

    verdicts = probed(app, LIST, wanted="cancel tasks")

    assert found(verdicts) == set()


@pytest.mark.filterwarnings("ignore")
def test_a_job_that_outlives_each_request_is_not_the_cancels_doing() -> None:
    """It also goes on after a request that nobody cut: tasks has found it."""
    verdicts = probed(starting(long), JOB, wanted="cancel tasks")

    assert found(verdicts) == {"tasks"}


def test_a_last_request_that_fails_cannot_be_told_of() -> None:
    """The request before the shutdown did not do what it does."""
    app, sent = shop(), []

    @app.post("/jobs")
    async def start() -> None:
        sent.append(1)
        if len(sent) > 4:
            raise RuntimeError("no more")

    verdicts = probed(app, JOB, wanted="tasks")

    assert judged(verdicts, "tasks") == {"cannot-tell"}
