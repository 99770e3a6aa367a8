"""What proofs rely on to see a symptom does what it says."""

import asyncio

import psycopg
import pytest

from tests.observers.canceller import each_point
from tests.observers.failing_commit import kill_commit, refuse_commit
from tests.servers.postgres import Database


@pytest.mark.parametrize(
    ("sql", "error", "alive"),
    [
        (refuse_commit("orders"), psycopg.IntegrityError, True),
        (kill_commit("orders"), psycopg.OperationalError, False),
    ],
    ids=["refused", "killed"],
)
def test_a_commit_fails_after_every_statement_succeeded(
    postgres: Database, sql: str, error: type[Exception], alive: bool
) -> None:
    """The INSERT answers, COMMIT raises, nothing is stored; only a kill costs the connection."""
    postgres.execute("CREATE TABLE orders (id serial PRIMARY KEY)")
    postgres.execute(sql)
    connection = psycopg.connect(postgres.url)
    inserted = connection.execute("INSERT INTO orders DEFAULT VALUES").rowcount
    with pytest.raises(error):
        connection.commit()

    assert (inserted, not connection.closed) == (1, alive)
    connection.close()
    assert postgres.execute("SELECT count(*) FROM orders") == [(0,)]


def test_a_coroutine_is_cancelled_once_at_each_of_its_waits() -> None:
    """Three waits are three runs, each stopped one wait later than the one before."""

    async def passed() -> list[int]:
        reached = []

        async def work() -> None:
            for number in range(3):
                await asyncio.sleep(0)
                reached.append(number)

        counts = []
        async for run in each_point(work):
            assert run.cancelled
            counts.append(len(reached))
            reached.clear()
        return counts

    assert asyncio.run(passed()) == [0, 1, 2]
