"""asyncpg without SQLAlchemy is seen as well, and SQLAlchemy's own use of it once."""

import asyncio
import contextlib

import asyncpg
import pytest
from fastapi import FastAPI, HTTPException, Request

from tests.harness.probing import found, judged, probed, told, traps
from tests.probes.shop import LIST, ORDER, shop, skus

INSERT = "INSERT INTO stock VALUES ($1)"
SELECT = "SELECT sku FROM stock ORDER BY sku LIMIT 4"


def pooled(store, **routes):
    """A shop on asyncpg's own pool."""

    @contextlib.asynccontextmanager
    async def lifespan(app):
        url = store.url.replace("+asyncpg", "")
        async with asyncpg.create_pool(url, min_size=0, max_size=3) as pool:
            yield {"pool": pool}

    app = FastAPI(lifespan=lifespan)
    for name, work in routes.items():
        app.api_route(f"/{name}", methods=["GET", "POST"])(work)
    return app


async def swallowing(request: Request, sku: str) -> None:
    async with request.state.pool.acquire() as connection:
        with contextlib.suppress(asyncpg.PostgresError):
            async with connection.transaction():
                await connection.execute(INSERT, sku)


async def telling(request: Request, sku: str) -> None:
    async with request.state.pool.acquire() as connection:
        try:
            async with connection.transaction():
                await connection.execute(INSERT, sku)
        except asyncpg.PostgresError as error:
            raise HTTPException(409) from error


async def without_a_transaction(request: Request, sku: str) -> None:
    with contextlib.suppress(asyncpg.PostgresError):
        await request.state.pool.execute(INSERT, sku)


async def rolled_back(request: Request, sku: str) -> None:
    async with request.state.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(INSERT, sku)
        await transaction.rollback()


async def left_by_an_error(request: Request, sku: str) -> None:
    with contextlib.suppress(LookupError):
        async with request.state.pool.acquire() as connection, connection.transaction():
            await connection.execute(INSERT, sku)
            raise LookupError


@pytest.mark.parametrize(
    ("work", "verdict"),
    [
        (swallowing, "found"),
        (telling, "ok"),
        (without_a_transaction, "found"),
        (rolled_back, "cannot-tell"),
        (left_by_an_error, "found"),
    ],
)
def test_a_commit_that_fails_is_refused(postgres_shop, work, verdict) -> None:
    """COMMIT is a ROLLBACK and an error of asyncpg's; a lone INSERT is its own COMMIT."""
    verdicts = probed(pooled(postgres_shop, orders=work), ORDER, wanted="commit")

    assert judged(verdicts, "commit") == {verdict}, told(verdicts, "commit")


def test_the_refused_transaction_stores_nothing(postgres_shop) -> None:
    """Five plain runs store their rows, the refused one none, and the pool goes on."""
    before = postgres_shop.rows()
    probed(pooled(postgres_shop, orders=telling), ORDER, wanted="commit")

    assert postgres_shop.rows() - before == 5


async def held(request: Request) -> None:
    async with request.state.pool.acquire() as connection:
        await connection.fetch(SELECT)
        await asyncio.sleep(0.05)


async def held_in_a_transaction(request: Request) -> None:
    async with request.state.pool.acquire() as connection, connection.transaction():
        await connection.fetch(SELECT)
        await asyncio.sleep(0.05)


async def nested(request: Request) -> None:
    async with request.state.pool.acquire() as connection:
        await connection.fetch(SELECT)
        await request.state.pool.fetch(SELECT)


async def unreleased(request: Request) -> None:
    connection = await request.state.pool.acquire()
    await connection.fetch(SELECT)
    asyncio.get_running_loop().call_later(1, connection.terminate)


async def at_once(request: Request) -> list[str]:
    return [row["sku"] for row in await request.state.pool.fetch(SELECT)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (held, {"pooling/tuning#connection-held-across-a-call"}),
        (held_in_a_transaction, {"sqlalchemy/sessions#slow-call-inside-the-block"}),
        (nested, {"pooling/database#nested-checkout"}),
        (at_once, set()),
    ],
)
def test_connections_of_its_pool_are_holds(postgres_shop, work, expected) -> None:
    """Held across a call, in a transaction or not, and two at once."""
    verdicts = probed(pooled(postgres_shop, stock=work), LIST, wanted="checkouts")

    assert traps(verdicts) == expected, told(verdicts, "checkouts")


def test_its_statements_and_rows_are_counted(postgres_shop) -> None:
    """One SELECT, four rows, without what its pool sends to clean a connection."""
    verdicts = probed(pooled(postgres_shop, stock=at_once), LIST, wanted="statements")

    assert told(verdicts, "statements").startswith("1 sent, rows in the longest result: 4")


async def one_by_one(request: Request) -> None:
    async with request.state.pool.acquire() as connection:
        one = await connection.prepare("SELECT sku FROM stock WHERE sku = $1")
        for row in await connection.fetch(SELECT):
            await one.fetchrow(row["sku"])


def test_a_prepared_statement_for_each_row_is_found(postgres_shop) -> None:
    """A prepared statement is sent by another way."""
    verdicts = probed(pooled(postgres_shop, stock=one_by_one), LIST, wanted="statements")

    assert found(verdicts) == {"statements"}


async def with_its_text(request: Request) -> str:
    try:
        await request.state.pool.fetch(SELECT)
    except asyncpg.PostgresError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("work", "verdict"), [(with_its_text, "found"), (at_once, "ok")])
def test_its_errors_are_made(postgres_shop, work, verdict) -> None:
    """Each statement fails with an error of asyncpg's own."""
    verdicts = probed(pooled(postgres_shop, stock=work), LIST, wanted="errors")

    assert judged(verdicts, "errors") == {verdict}


async def connecting(request: Request) -> None:
    connection = await asyncpg.connect(request.app.state.url)
    try:
        await connection.fetch(SELECT)
    finally:
        await connection.close()


def test_a_connection_for_each_request_is_found(postgres_shop) -> None:
    """It is dialled anew each time."""
    app = pooled(postgres_shop, stock=connecting)
    app.state.url = postgres_shop.url.replace("+asyncpg", "")

    verdicts = probed(app, LIST, wanted="dials checkouts")

    assert found(verdicts) == {"dials"}
    assert traps(verdicts) == {"pooling/database#one-engine-in-the-lifespan"}


def test_what_sqlalchemy_asks_of_asyncpg_is_counted_once(postgres_shop) -> None:
    """One SELECT through both is one statement."""
    app = shop(postgres_shop.url)
    app.get("/stock")(skus)

    verdicts = probed(app, LIST, wanted="statements")

    assert told(verdicts, "statements").startswith("1 sent, rows in the longest result: 4")


def test_afterwards_asyncpg_is_as_it_was(postgres_shop) -> None:
    """The wrappers are taken away."""
    before = asyncpg.Connection.execute
    probed(pooled(postgres_shop, stock=at_once), LIST, wanted="statements")

    assert asyncpg.Connection.execute is before


def test_a_restart_cannot_be_told_of_without_a_pool_of_sqlalchemy(postgres_shop) -> None:
    """The reason says whose pools are known."""
    verdicts = probed(pooled(postgres_shop, stock=at_once), LIST, wanted="restart")

    assert judged(verdicts, "restart") == {"cannot-tell"}
    assert "no pool of SQLAlchemy's" in told(verdicts, "restart")
