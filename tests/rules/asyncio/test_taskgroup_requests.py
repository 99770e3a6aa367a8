"""What rules/asyncio/taskgroup.md says of races, of broadcasts, and of what a request owns."""

import asyncio
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, UploadFile, WebSocket, WebSocketDisconnect
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from tests.harness import confirms
from tests.observers.asgi import SPEC, request
from tests.observers.waiting import reached, turns, until
from tests.rules.asyncio.test_taskgroup_traps import answer, fail, forever, raised_by

RULE = "asyncio/taskgroup"


async def race(*racers):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in racers]
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
    return done.pop().result()


class Loser:
    """A racer that is never first, and cleans up when it is cancelled."""

    def __init__(self):
        self.began, self.cleaned_up = asyncio.Event(), False

    async def run(self):
        try:
            self.began.set()
            await forever()
        finally:
            await turns()
            self.cleaned_up = True


@confirms(RULE, "wait-and-as-completed-cancel-nothing")
async def the_losers_end_before_the_race_does():
    """Bare, `wait` leaves a loser running; in a group the losers have cleaned up when it exits."""
    loser, left = Loser(), Loser()
    tasks = [asyncio.create_task(each) for each in (answer("first"), left.run())]
    _, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await turns(10)
    assert [each.done() for each in rest] == [False]
    rest.pop().cancel()

    assert await race(loser.run(), answer("first")) == "first"

    assert loser.cleaned_up


@confirms(RULE, "wait-and-as-completed-cancel-nothing")
async def a_race_that_is_cancelled_or_fails_leaves_no_racer():
    """The owner of the racers is the group, whatever ends it."""
    cancelled, failed = Loser(), Loser()
    caller = asyncio.create_task(race(cancelled.run(), forever()))
    await reached(cancelled.began, caller)
    caller.cancel()
    await asyncio.wait({caller}, timeout=5)

    assert await raised_by(race(failed.run(), fail(OSError()))) is ExceptionGroup

    assert (caller.cancelled(), cancelled.cleaned_up, failed.cleaned_up) == (True, True, True)


class Client:
    """The far end of one WebSocket, as a server hands it to the application."""

    def __init__(self, app, name, *, gone=False, slow=False):
        self.got, self._gone = [], gone
        self.reads = asyncio.Event()
        if not slow:
            self.reads.set()
        self.said: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        self.said.put_nowait({"type": "websocket.connect"})
        scope = {"type": "websocket", "asgi": SPEC, "path": f"/{name}", "headers": [], "state": {}}
        scope |= {"query_string": b"", "root_path": "", "subprotocols": [], "scheme": "ws"}
        self.handler = asyncio.create_task(app(scope, self.said.get, self._send))

    async def _send(self, message):
        if message["type"] == "websocket.send":
            if self._gone:
                raise OSError  # what the ASGI specification has servers raise
            await self.reads.wait()
            self.got.append(message["text"])


def create_room(broadcast):
    """A room whose members only listen; it returns the application and its registry."""
    app, members = FastAPI(), {}

    @app.websocket("/{name}")
    async def member(socket: WebSocket, name: str):
        await socket.accept()
        members[name] = socket
        try:
            while True:
                await broadcast(members, await socket.receive_text())
        finally:
            del members[name]

    return app, members


async def one_after_another(members, words):
    for socket in members.values():
        await socket.send_text(words)


async def each_for_itself(members, words):
    async def tell(name, socket):
        try:
            async with asyncio.timeout(0.05):
                await socket.send_text(words)
        except (TimeoutError, RuntimeError, WebSocketDisconnect):
            members.pop(name, None)

    async with asyncio.TaskGroup() as group:
        for name, socket in list(members.items()):
            group.create_task(tell(name, socket))


async def fill(broadcast, **options):
    """A room with one client of the given kind before a healthy one."""
    app, members = create_room(broadcast)
    other = Client(app, "other", **options)
    assert await until(lambda: len(members) == 1)
    healthy = Client(app, "healthy")
    assert await until(lambda: len(members) == 2)
    return members, other, healthy


async def end(*clients):
    for client in clients:
        client.handler.cancel()
    for client in clients:
        assert await raised_by(client.handler) is asyncio.CancelledError


@confirms(RULE, "broadcast-to-websockets")
async def one_member_cuts_the_others_off_in_a_loop():
    """A slow member holds them up; a gone and a closed one raise what is no OSError."""
    members, slow, healthy = await fill(one_after_another, slow=True)
    telling = asyncio.create_task(one_after_another(members, "hello"))
    await turns(20)
    assert (telling.done(), healthy.got) == (False, [])
    telling.cancel()
    await end(slow, healthy)

    members, gone, healthy = await fill(one_after_another, gone=True)
    assert await raised_by(one_after_another(members, "hello")) is WebSocketDisconnect
    assert healthy.got == []
    await end(gone, healthy)

    members, closed, healthy = await fill(one_after_another)
    await members["other"].close()
    with pytest.raises(RuntimeError, match="once a close message has been sent"):
        await one_after_another(members, "hello")
    assert healthy.got == []
    assert not issubclass(WebSocketDisconnect, OSError)
    await end(closed, healthy)


@confirms(RULE, "broadcast-to-websockets")
async def a_task_for_each_member_reaches_the_healthy_ones():
    """Slow, gone and closed members are dropped, and the others are told."""
    for options in ({"slow": True}, {"gone": True}, {}):
        members, other, healthy = await fill(each_for_itself, **options)
        if not options:
            await members["other"].close()

        await each_for_itself(members, "hello")

        assert healthy.got == ["hello"]
        assert list(members) == ["healthy"]
        members["other"] = None  # its own handler, still there, takes it out
        await end(other, healthy)
        assert members == {}


@confirms(RULE, "broadcast-to-websockets")
async def a_member_that_leaves_or_sends_bytes_meets_the_registry():
    """A loop over the registry itself breaks when one leaves; bytes are a KeyError."""
    members, leaving, healthy = await fill(one_after_another, slow=True)
    telling = asyncio.create_task(one_after_another(members, "hello"))
    await turns()
    healthy.said.put_nowait({"type": "websocket.disconnect", "code": 1000})
    assert await raised_by(healthy.handler) is WebSocketDisconnect
    leaving.reads.set()
    assert await raised_by(telling) is RuntimeError

    leaving.said.put_nowait({"type": "websocket.receive", "bytes": b"\0"})

    assert await raised_by(leaving.handler) is KeyError
    assert members == {}


UPLOAD = (
    b'--b\r\nContent-Disposition: form-data; name="upload"; filename="a.csv"\r\n\r\n'
    b"1;2\r\n--b--\r\n"
)


@confirms(RULE, "request-objects-in-a-task")
async def an_upload_is_closed_once_the_response_is_sent():
    """The task that kept the upload fails; the one that was given the bytes does not."""
    app, answered, tasks = FastAPI(), asyncio.Event(), []

    async def import_upload(upload):
        await answered.wait()
        return await upload.read()

    async def import_bytes(data):
        await answered.wait()
        return data

    @app.post("/")
    async def create(upload: UploadFile) -> None:
        tasks.append(asyncio.create_task(import_upload(upload)))
        await upload.seek(0)
        tasks.append(asyncio.create_task(import_bytes(await upload.read())))

    form = {"content-type": "multipart/form-data; boundary=b"}
    assert (await request(app, "/", "POST", form, UPLOAD)).status == 200
    answered.set()
    await asyncio.wait(tasks, timeout=5)

    with pytest.raises(ValueError, match="I/O operation on closed file"):
        tasks[0].result()
    assert tasks[1].result() == b"1;2"


@pytest.mark.parametrize("scope", ["function", "request"])
@confirms(RULE, "request-objects-in-a-task")
async def the_requests_session_takes_a_connection_that_nobody_returns(postgres, scope):
    """Used after its request, it leaves the pool short; a session of the task's own does not."""
    engine = create_async_engine(postgres.asyncpg)
    sessions = async_sessionmaker(engine)
    app, answered, tasks = FastAPI(), asyncio.Event(), []

    async def get_session():
        async with sessions.begin() as session:
            yield session

    async def borrow(session):
        await answered.wait()
        await session.execute(text("SELECT 1"))
        return session

    async def open_own():
        await answered.wait()
        async with sessions() as session:
            await session.execute(text("SELECT 1"))

    @app.get("/{job}")
    async def read(
        job: str, session: Annotated[AsyncSession, Depends(get_session, scope=scope)]
    ) -> None:
        await session.execute(text("SELECT 1"))
        tasks.append(asyncio.create_task(borrow(session) if job == "borrow" else open_own()))

    out = []
    for job in ("own", "borrow"):
        answered.clear()
        assert (await request(app, f"/{job}")).status == 200
        answered.set()
        await asyncio.wait(tasks, timeout=5)
        out.append(engine.pool.checkedout())
    await tasks[-1].result().close()
    await engine.dispose()

    assert out == [0, 1]
