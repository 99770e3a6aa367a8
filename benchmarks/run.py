"""Start the servers, check that the variants answer alike, load them in turns, read their CPU."""

import asyncio
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import aiohttp

from benchmarks.figures import Difference, Figure, difference, figure, ratios
from tests.harness import ROOT
from tests.observers.round_trips import RoundTrips, round_trips
from tests.servers.postgres import Database, postgres_server
from tests.servers.uvicorn import uvicorn

POOL = CLIENTS = 8
WARM = 5  # requests, after which SQLAlchemy's and the drivers' caches are full
CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
SEED = """
    INSERT INTO orders (id, reference, repeats, placed)
    SELECT gen_random_uuid(), n::text, 0, now() - interval '2 days' + n * interval '1 s'
    FROM generate_series(1, 2000) AS n;
    INSERT INTO lines (order_id, sku, quantity)
    SELECT id, 'sku' || n, n FROM orders, generate_series(1, 3) AS n;
    ANALYZE
"""
FLAGS = ("--factory", "--lifespan", "on", "--loop", "asyncio", "--http", "h11", "--no-access-log")
PER_REQUEST = re.compile(rb'"(id|placed|edited|reference)":"[^"]*"')  # for what is placed anew


CASES = {
    "one": "GET one order with three lines",
    "page": "GET a page of 20 orders",
    "post": "POST an order with three lines",
}


@dataclass
class Measured:
    """A variant: what it is compared with, its round trips a request, its samples."""

    case: str
    name: str
    against: str = ""
    trips: float = 0
    samples: list[float] = field(default_factory=list)  # microseconds of CPU a request


@dataclass(frozen=True)
class Result:
    """What one case showed, of the bare handler and the example first."""

    case: str
    variants: dict[str, Measured]

    def costs(self) -> dict[str, Figure | None]:
        """What each variant costs, in units of the bare handler."""
        base = self.variants["bare"].samples
        return {name: figure(ratios(each.samples, base)) for name, each in self.variants.items()}

    def differences(self) -> list[Difference]:
        """What each variant costs more than the one from which it differs in one thing."""
        samples = {name: each.samples for name, each in self.variants.items()}
        return [
            difference(each.name, each.against, samples)
            for each in self.variants.values()
            if each.against
        ]


class Client:
    """Asks variants for what their case is about."""

    def __init__(self, session: aiohttp.ClientSession, servers: dict[str, str], key: str) -> None:
        self.session, self.servers, self.key = session, servers, key

    def server(self, variant: str) -> str:
        return self.servers.get(variant, self.servers["variants"])

    async def ask(self, case: str, variant: str) -> bytes:
        """One request. Raises aiohttp.ClientResponseError where it fails."""
        path, method = f"/orders/{self.key}" if case == "one" else "/orders", "GET"
        url, new = f"{self.server(variant)}/{case}/{variant}{path}", None
        if case == "post":
            lines = [{"sku": f"sku{n}", "quantity": n} for n in (1, 2, 3)]
            method, new = "POST", {"reference": uuid4().hex, "lines": lines}
        async with self.session.request(method, url, json=new) as response:
            response.raise_for_status()
            return await response.read()

    async def cpu(self, variant: str) -> int:
        """Nanoseconds that the variant's process has run."""
        async with self.session.get(f"{self.server(variant)}/cpu") as response:
            return int(await response.read())

    async def variants(self, cases: Collection[str]) -> list[Measured]:
        """What there is to measure."""
        async with self.session.get(f"{self.servers['variants']}/variants") as response:
            others = [each for each in await response.json() if each[0] in cases]
        first = [(case, name) for case in cases for name in ("bare", "orders")]
        return [Measured(*each) for each in [*first, *others]]

    async def load(self, case: str, variant: str, requests: int) -> float:
        """Ask as several clients; microseconds of the server's CPU a request."""
        left = iter(range(requests))

        async def ask() -> None:
            for _ in left:
                await self.ask(case, variant)

        before = await self.cpu(variant)
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(ask())
        return (await self.cpu(variant) - before) / requests / 1000


@asynccontextmanager
async def client(database: Database, key: str) -> AsyncIterator[Client]:
    """Serve everything on this database while the block runs, each kind in a process."""
    env = environment(database)
    async with AsyncExitStack() as stack:

        async def start(name: str) -> str:
            source = f"from benchmarks.served import {name} as app"
            serving = uvicorn(source, *FLAGS, env=env, limit=60)
            server = await stack.enter_async_context(serving)
            pin(server.process.pid, -1)
            return server.url

        names = ("bare", "orders", "variants")
        urls = await asyncio.gather(*map(start, names))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Client(session, dict(zip(names, urls, strict=True)), key)


def environment(database: Database) -> dict[str, str]:
    return {
        "PYTHONPATH": f"{ROOT / 'examples'}:{ROOT}",
        "POSTGRES_URL": database.url,
        "ORDERS_DATABASE_URL": database.asyncpg,
        "ORDERS_POOL_SIZE": str(POOL),
        "ORDERS_CORS_ORIGINS": json.dumps(["https://shop.example"]),
    }


def pin(process: int, which: int) -> None:
    """Keep a process on one of the CPUs, where the system can."""
    if CPUS:
        os.sched_setaffinity(process, {CPUS[which]})


@contextmanager
def seeded() -> Iterator[tuple[Database, str]]:
    """A database of 2,000 orders, and the key of one of them."""
    name = f"benchmark_{uuid4().hex[:8]}"
    with postgres_server() as main:
        main.execute(f"CREATE DATABASE {name}")
        try:
            database = main.named(name)
            env = os.environ | environment(database)
            subprocess.run([sys.executable, "-m", "orders.database"], env=env, check=True)
            database.execute(SEED)
            ((key,),) = database.execute("SELECT id FROM orders WHERE reference = '1000'")
            yield database, str(key)
        finally:
            main.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def check(asking: Client, variants: list[Measured]) -> None:
    """Raise ValueError when a variant answers otherwise than the bare handler."""
    for each in variants:
        if each.name.startswith("no database"):
            continue
        answers = [await asking.ask(each.case, name) for name in ("bare", each.name)]
        if len({PER_REQUEST.sub(b"", answer) for answer in answers}) > 1:
            raise ValueError(f"{each.case}, {each.name}: {answers[1]!r}, not {answers[0]!r}")


async def count(asking: Client, each: Measured, relay: RoundTrips) -> float:
    """Round trips to the database a request, of one client."""
    for _ in range(WARM):
        await asking.ask(each.case, each.name)
    before = relay.count
    for _ in range(WARM):
        await asking.ask(each.case, each.name)
    return (relay.count - before) / WARM


async def measure(rounds: int, requests: int, cases: Collection[str]) -> list[Result]:
    """Run the cases. A round loads each variant once, by so many requests, in a new order."""
    pin(os.getpid(), 0)
    with seeded() as (database, key):
        with round_trips(database.url) as relay:
            async with client(Database(relay.url), key) as asking:
                variants = await asking.variants(cases)
                await check(asking, variants)
                for each in variants:
                    each.trips = await count(asking, each, relay)
        async with client(database, key) as asking:
            for each in variants:
                await asking.load(each.case, each.name, WARM * CLIENTS)
            for case in [*cases] * rounds:  # a case at a time, so that a ratio spans seconds
                turns = [each for each in variants if each.case == case]
                for each in random.sample(turns, len(turns)):
                    each.samples.append(await asking.load(case, each.name, requests))
    return [
        Result(case, {each.name: each for each in variants if each.case == case}) for case in cases
    ]
