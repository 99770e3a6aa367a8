"""Proofs of the queue in rules/fastapi/lifespan.md."""

import asyncio
from contextlib import asynccontextmanager
from importlib.metadata import version

import pytest
from fastapi import FastAPI
from packaging.version import Version
from procrastinate import App, PsycopgConnector
from procrastinate.jobs import Status
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from tests.harness import confirms, proves
from tests.observers.asgi import request

PAGE = "fastapi/lifespan"
TAKES_CONNECTION = Version(version("procrastinate")) >= Version("3.8")
needs_connection = pytest.mark.skipif(
    not TAKES_CONNECTION, reason="the rule requires procrastinate 3.8, which has `connection=`"
)
DEFER = text(
    "SELECT procrastinate_defer_jobs_v1(ARRAY[ROW('default', 'receipt', 0, NULL, NULL,"
    " CAST(:args AS jsonb), NULL)::procrastinate_job_to_defer_v1])"
)


async def insert(session) -> int:
    """Store an order; return its id."""
    return await session.scalar(text("INSERT INTO orders DEFAULT VALUES RETURNING id"))


class Receipt:
    """A procrastinate task that can also be called as a coroutine function."""

    def __init__(self, task) -> None:
        self.configure, self.send = task.configure, task.func

    async def __call__(self, order_id: int) -> None:
        await self.send(order_id)


@asynccontextmanager
async def orders(postgres, driver="psycopg"):
    """Yield a session factory, and procrastinate on the same database."""
    postgres.execute("CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY)")
    engine = create_async_engine(getattr(postgres, driver))
    async with App(connector=PsycopgConnector(conninfo=postgres.url)).open_async() as jobs:
        await jobs.schema_manager.apply_schema_async()
        try:
            yield async_sessionmaker(engine), jobs
        finally:
            await engine.dispose()


async def work(jobs: App) -> None:
    """Run a worker until the queue is empty."""
    await jobs.run_worker_async(wait=False, install_signal_handlers=False, listen_notify=False)


def statuses(postgres) -> list[str]:
    """The status of each job, oldest first."""
    return [row[0] for row in postgres.execute("SELECT status FROM procrastinate_jobs ORDER BY id")]


@needs_connection
@proves(PAGE, "queue-the-job-with-its-row")
async def an_order_is_kept_and_its_receipt_is_lost(half, postgres):
    """The process stops once the response is out; a worker elsewhere has nothing to do."""
    app, receipts = FastAPI(), []

    async def place(*, stopped: bool) -> None:
        def stop_after_the_body(message):
            if stopped and message["type"] == "http.response.body":
                task.cancel()  # as uvicorn does when the graceful timeout is over

        task = asyncio.create_task(
            request(app, "/orders", "POST", state=state, on_send=stop_after_the_body)
        )
        await asyncio.wait({task})

    async with orders(postgres) as (sessions, jobs):

        @jobs.task(name="receipt")
        async def receipt(order_id: int) -> None:
            await asyncio.sleep(0)
            receipts.append(order_id)

        app.post("/orders")(half.order)
        state = {"sessions": sessions, "insert": insert, "receipt": Receipt(receipt)}
        for stopped in (False, True):
            await place(stopped=stopped)
            await work(jobs)
        stored = postgres.execute("SELECT id FROM orders ORDER BY id")

    assert stored == [(1,), (2,)]
    assert receipts[:1] == [1]
    return receipts != [1, 2]


async def raw_connection(session):
    """The driver's own connection under a session."""
    return (await (await session.connection()).get_raw_connection()).driver_connection


def test_a_job_survives_a_rollback_unless_it_shares_the_connection(postgres) -> None:
    """Only `connection=` ties it to the row; before 3.8 procrastinate takes it and ignores it."""
    left = {}

    async def defer() -> None:
        async with orders(postgres) as (sessions, jobs):
            jobs.task(name="receipt")(statuses)
            for shared in (False, True):
                postgres.execute("DELETE FROM procrastinate_jobs")
                async with sessions() as session:
                    options = {"connection": await raw_connection(session)} if shared else {}
                    await jobs.configure_task("receipt", **options).defer_async()
                    left[shared, "seen before the end"] = len(statuses(postgres))
                    await session.rollback()
                left[shared, "kept"] = len(statuses(postgres))

    asyncio.run(defer())

    ignored = 0 if TAKES_CONNECTION else 1
    assert left == {
        (False, "seen before the end"): 1,
        (False, "kept"): 1,
        (True, "seen before the end"): ignored,
        (True, "kept"): ignored,
    }


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_the_sql_function_defers_in_the_session(postgres, driver) -> None:
    """A rollback drops its job, a commit keeps it, and the worker runs it: errors/fastapi.md."""
    sent = []

    async def defer() -> None:
        async with orders(postgres, driver) as (sessions, jobs):

            @jobs.task(name="receipt")
            async def receipt(order_id: int) -> None:
                sent.append(order_id)

            for order_id in (1, 2):
                async with sessions() as session:
                    await session.execute(DEFER, {"args": f'{{"order_id": {order_id}}}'})
                    await (session.rollback() if order_id == 1 else session.commit())
            await work(jobs)

    asyncio.run(defer())

    assert sent == [2]


@confirms(PAGE, "a-queue-that-gives-up")
async def a_job_fails_for_good_without_retry(postgres):
    """The same flaky task is done at its second attempt only where it may retry."""
    attempts = []
    async with orders(postgres) as (_, jobs):
        for name, retry in (("final", False), ("again", 3)):

            @jobs.task(name=name, retry=retry)
            async def receipt(name: str) -> None:
                attempts.append(name)
                if attempts.count(name) == 1:
                    raise RuntimeError("SMTP is down")

            await jobs.configure_task(name).defer_async(name=name)
        await work(jobs)
        await work(jobs)

    assert attempts.count("final") == 1
    assert attempts.count("again") == 2
    assert statuses(postgres) == ["failed", "succeeded"]


@confirms(PAGE, "a-queue-that-gives-up")
async def the_job_of_a_killed_worker_waits_for_someone_to_retry_it(postgres):
    """The next worker passes it by until it was found stalled and retried, and runs it again."""
    sent = []
    async with orders(postgres) as (_, jobs):

        @jobs.task(name="receipt")
        async def receipt() -> None:
            sent.append(1)

        await receipt.defer_async()
        killed = await jobs.job_manager.register_worker()
        await jobs.job_manager.fetch_job(queues=None, worker_id=killed)
        postgres.execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 h'")
        await work(jobs)
        passed_by = statuses(postgres), list(sent)
        for job in await jobs.job_manager.get_stalled_jobs():
            await jobs.job_manager.retry_job(job)
        await work(jobs)

    assert passed_by == ([Status.DOING.value], [])
    assert (statuses(postgres), sent) == ([Status.SUCCEEDED.value], [1])
