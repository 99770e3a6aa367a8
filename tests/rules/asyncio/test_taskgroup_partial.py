"""What the pair on partial results of rules/asyncio/taskgroup.md promises with real clients."""

import asyncio
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from tests.harness import correct
from tests.harness.judge import run
from tests.observers.waiting import reached, turns, until
from tests.rules.asyncio.test_taskgroup_traps import answer, fail, forever
from tests.servers.http import Answer, CountingServer
from tests.servers.ports import free_port

RULE = "asyncio/taskgroup"
PAIR = "keep-partial-results"
TOKEN = {"Authorization": "Bearer hunter2"}
EXPECTED = aiohttp.ClientError, TimeoutError, httpx2.HTTPError, OSError, SQLAlchemyError


async def query(engine, sql):
    async with engine.connect() as connection:
        return str(await connection.scalar(text(sql)))


class Relay:
    """Passes bytes between a client and a database, until it is told to be silent."""

    def __init__(self, port):
        self._port = port
        self.speaks = asyncio.Event()
        self.speaks.set()
        self._pipes = set()

    @asynccontextmanager
    async def running(self):
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for each in self._pipes:
                each.cancel()
            await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _connect(self, reader, writer):
        await self.speaks.wait()
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        for source, sink in ((reader, up_writer), (up_reader, writer)):
            self._pipes.add(asyncio.create_task(self._pipe(source, sink)))

    async def _pipe(self, source, sink):
        try:
            while data := await source.read(65536):
                await self.speaks.wait()
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_a_silent_database_is_not_waited_for(postgres, driver):
    """The answers are there while the driver of the late source still cleans up, owned."""

    async def ask():
        half = correct(RULE, PAIR)
        relay = Relay(urlsplit(postgres.url).port)
        async with relay.running() as port:
            parts = urlsplit(getattr(postgres, driver))
            url = parts._replace(netloc=f"{parts.username}@127.0.0.1:{port}").geturl()
            engine = create_async_engine(url)
            both = {"database": query(engine, "SELECT 1"), "good": answer("here")}
            assert await half.ask_all(both, 10, EXPECTED) == {"database": "1", "good": "here"}
            relay.speaks.clear()
            late = {"database": query(engine, "SELECT 1"), "good": answer("here")}
            found = await half.ask_all(late, 0.2, EXPECTED)
            still_owned = len(half.tasks)
            relay.speaks.set()
            assert await until(lambda: not half.tasks, limit=10)
            await engine.dispose()

            assert (found, still_owned) == ({"good": "here"}, 1)

    run(ask, limit=40)


async def status_503(request):
    """Answer 503, or to /drops nothing at all."""
    await asyncio.sleep(0)
    return None if request.path == "/drops" else Answer(status=503)


async def say_nothing(reader, writer):
    await reader.read()
    writer.close()


@asynccontextmanager
async def dead_sources(postgres):
    """Yield a function that makes, by name, one call to each source that is down."""
    refused = f"http://127.0.0.1:{free_port()}/"
    elsewhere = urlsplit(postgres.asyncpg)._replace(netloc=f"postgres@127.0.0.1:{free_port()}")
    engine, gone = create_async_engine(postgres.asyncpg), create_async_engine(elsewhere.geturl())
    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    mute = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    soon = aiohttp.ClientTimeout(total=0.05)
    end = "SELECT pg_terminate_backend(pg_backend_pid())"
    async with (
        CountingServer(status_503) as server,
        httpx2.AsyncClient() as client,
        aiohttp.ClientSession(headers=TOKEN, raise_for_status=True) as session,
    ):

        async def fetch(url, **options):
            async with session.get(url, **options) as response:
                return await response.text()

        async def get(url, **options):
            return (await client.get(url, **options)).raise_for_status().text

        yield lambda: {
            "aiohttp refused": fetch(refused),
            "aiohttp dropped": fetch(server.url + "/drops"),
            "aiohttp status": fetch(server.url),
            "aiohttp timeout": fetch(mute, timeout=soon),
            "httpx2 refused": get(refused),
            "httpx2 dropped": get(server.url + "/drops"),
            "httpx2 status": get(server.url),
            "httpx2 timeout": get(mute, timeout=0.05),
            "database refused": query(gone, "SELECT 1"),
            "database terminated": query(engine, end),
        }
    await engine.dispose()
    silent.close()


def test_the_named_errors_are_what_dead_sources_raise(postgres, caplog):
    """Real clients of sources that are down cost their own answers and no other."""

    async def ask():
        half = correct(RULE, PAIR)
        async with dead_sources(postgres) as ask_them:
            sources = ask_them() | {"good": answer("here")}

            assert await half.ask_all(sources, 20, EXPECTED) == {"good": "here"}
            logged = {record.getMessage() for record in caplog.records}
            assert logged == {f"no {name}" for name in sources.keys() - {"good"}}
            assert "503" in caplog.text
            assert "hunter2" not in caplog.text  # it is in the repr of an aiohttp error

    run(ask, limit=60)


def test_os_error_misses_most_of_what_dead_sources_raise(postgres):
    """Of ten ways to be down three are an OSError; the others fail the call."""

    async def ask():
        half, caught = correct(RULE, PAIR), set()
        async with dead_sources(postgres) as ask_them:
            for name, source in ask_them().items():
                try:
                    await half.ask_all({name: source}, 20, (OSError,))
                    caught.add(name)
                except EXPECTED:
                    continue

        assert caught == {"aiohttp refused", "aiohttp timeout", "database refused"}

    run(ask, limit=60)


def test_an_exhausted_pool_is_a_source_that_is_down(postgres):
    """SQLAlchemy's own timeout is among the named errors too."""

    async def ask():
        half = correct(RULE, PAIR)
        engine = create_async_engine(postgres.asyncpg, pool_size=1, max_overflow=0, pool_timeout=0)
        async with engine.connect():
            sources = {"full": query(engine, "SELECT 1"), "good": answer("here")}
            found = await half.ask_all(sources, 20, EXPECTED)
        await engine.dispose()

        assert found == {"good": "here"}

    run(ask, limit=20)


def test_no_source_at_all_and_a_source_that_cancels_itself():
    """Neither is an error of the call, and nobody looks cancelled."""

    async def ask():
        half = correct(RULE, PAIR)

        assert await half.ask_all({}, 1, ()) == {}
        sources = {"lost": fail(asyncio.CancelledError()), "good": answer("here")}
        assert await half.ask_all(sources, 5, ()) == {"good": "here"}

    run(ask, limit=20)


def test_a_cancelled_caller_cancels_its_sources_and_leaves_them_owned():
    """A source that cleans up when its caller is cancelled stays in the set until it has ended."""

    async def ask():
        half = correct(RULE, PAIR)
        asked, released = asyncio.Event(), asyncio.Event()

        async def source():
            try:
                asked.set()
                await forever()
            finally:
                await released.wait()

        caller = asyncio.create_task(half.ask_all({"slow": source()}, 60, ()))
        await reached(asked, caller)
        caller.cancel()
        await asyncio.wait({caller}, timeout=5)
        (owned,) = half.tasks
        released.set()
        await asyncio.wait({owned}, timeout=5)
        await turns()

        assert (caller.cancelled(), owned.cancelled(), half.tasks) == (True, True, set())

    run(ask, limit=20)


def test_an_answer_after_the_deadline_changes_nothing():
    """A source that ignores its cancel does not write into what the caller already has."""

    async def ask():
        half = correct(RULE, PAIR)
        released = asyncio.Event()

        async def stubborn():
            try:
                await forever()
            except asyncio.CancelledError:
                await released.wait()
                return "too late"

        found = await half.ask_all({"late": stubborn(), "good": answer("here")}, 0.05, ())
        (late,) = half.tasks
        released.set()
        await asyncio.wait({late}, timeout=5)

        assert (late.result(), found) == ("too late", {"good": "here"})

    run(ask, limit=20)
