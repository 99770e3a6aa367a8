"""What pooling/database says of passwords that expire, on a server that asks for them."""

import asyncio

import pytest
from sqlalchemy import event

from tests.harness import confirms
from tests.observers.loop_lag import loop_lag
from tests.rules.pooling.test_database_settings import ONE, SELECT, engine_of, query
from tests.servers.cluster import cluster

RULE = "pooling/database"


class Tokens:
    """The role `svc` of a server, whose password is what was issued last."""

    def __init__(self, database) -> None:
        self.database, self.current, self.minted = database, "", 0

    def issue(self, token: str) -> None:
        self.current = token
        self.database.execute(f"ALTER ROLE svc PASSWORD '{token}'")

    async def mint(self) -> str:
        self.minted += 1
        await asyncio.sleep(0)
        return self.current

    def url(self, password: str = "") -> str:
        return self.database.asyncpg.replace("postgres@", f"svc{password and ':' + password}@")


@pytest.fixture(scope="module")
def tokens():
    with cluster() as server:
        server.database.execute("CREATE ROLE svc LOGIN PASSWORD 'none'")
        server.demand_passwords()
        yield Tokens(server.database)


async def together(engine, count):
    """Whether each of so many requests is answered, each on a connection of its own."""
    barrier = asyncio.Barrier(count)

    async def use():
        try:
            async with engine.connect() as connection:
                await connection.execute(SELECT)
                await barrier.wait()
        except Exception as error:
            await barrier.abort()
            return "password authentication failed" not in str(error)
        return True

    return await asyncio.gather(*(use() for _ in range(count)))


@pytest.mark.slow  # it starts a server
@confirms(RULE, "passwords-that-expire", limit=30)
async def a_password_in_the_url_outlives_itself_on_pooled_connections(tokens):
    """The one that is open serves on; a new one fails, and with pool_recycle that is each."""
    found = []
    for recycle in -1, 0:
        tokens.issue("first")
        async with engine_of(tokens.url("first"), pool_recycle=recycle) as engine:
            assert await query(engine) == 1
            tokens.issue("second")
            found.append((await together(engine, 1), await together(engine, 2)))

    assert found == [([True], [True, False]), ([False], [False, False])]


"""+"""


@pytest.mark.slow  # it starts a server
@confirms(RULE, "passwords-that-expire", limit=30)
async def a_password_that_is_asked_for_is_the_current_one(tokens):
    """asyncpg awaits the function once for each connection that it opens."""
    tokens.issue("first")
    tokens.minted = 0
    arguments = {"password": tokens.mint}
    async with engine_of(tokens.url(), connect_args=arguments) as engine:
        assert await together(engine, 1) == [True]
        tokens.issue("second")
        assert await together(engine, 3) == [True, True, True]

    assert tokens.minted == 3


@confirms(RULE, "passwords-that-expire")
@pytest.mark.parametrize("how", ["do_connect", "mint"])
async def an_sdk_that_blocks_stops_the_loop_unless_it_has_a_thread(how, postgres):
    """In a do_connect listener nothing else runs meanwhile, in a thread of `mint` all does."""
    went_on = []

    def sdk():
        went_on.append(lag.advances(limit=5 if how == "mint" else 0.3))
        return "token"

    async def mint():
        return await asyncio.to_thread(sdk)

    def listener(dialect, record, arguments, keywords):
        keywords["password"] = sdk()

    arguments = {"password": mint} if how == "mint" else {}
    with loop_lag() as lag:
        async with engine_of(postgres.asyncpg, connect_args=arguments, **ONE) as engine:
            if how == "do_connect":
                event.listen(engine.sync_engine, "do_connect", listener)
            assert await query(engine) == 1

    assert went_on == [how == "mint"]
