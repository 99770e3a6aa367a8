"""A real server is told to stop while a client is at work: what becomes of the two?"""

import asyncio
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .core.clients import Client, Idle, InFlight, Socket, Stream, UnopenedError
from .core.network import Network
from .core.requests import Request, RequestError
from .core.routes import READY
from .core.serving import Server, StartError, serving
from .core.session import MisuseError
from .core.verdict import CANNOT_TELL, FOUND, OK, Verdict

DRAIN = "fastapi/lifespan#drain-before-the-port-closes"
GRACE = "fastapi/lifespan#a-shutdown-longer-than-its-grace-period"
SHELL = "fastapi/lifespan#a-shell-before-uvicorn"
HANDLER = "asyncio/cancellation#signal-handler-in-a-lifespan"
BEAT = 0.05  # seconds between two looks at the server
REPORT = 10.0  # seconds between two words on a wait; without any it would count as hanging
LATE = 0.4  # seconds after which an answer may not come any more
DATABASES = {"postgresql", "postgres", "mysql", "mariadb", "mssql", "oracle", "cockroachdb"}


@dataclass
class Seen:
    """What was seen from SIGTERM on; times in seconds since, None for what did not happen."""

    told: list[str] = field(default_factory=list)  # by readiness, "" for no answer; each change
    closed: float | None = None  # nothing new is answered
    ended: float | None = None  # the process is gone
    code: int | None = None
    errors: list[str] = field(default_factory=list)  # in its log

    @property
    def done(self) -> bool:
        return self.ended is not None and self.closed is not None

    @property
    def how(self) -> str:
        """When it ended, and with which code."""
        return f"ended after {self.ended:.1f} s, exit {self.code}"

    @property
    def story(self) -> str:
        """What readiness said until nothing was answered any more."""
        answers = ", then ".join(filter(None, self.told))
        return f"after SIGTERM readiness says {answers + ', then' if answers else ''} nothing"

    @property
    def fell(self) -> bool:
        """Readiness failed while requests were still answered."""
        return any(each[:1] in ("4", "5") for each in self.told)


def look(
    options: Any,
    folder: Path,
    requests: list[Request],
    headers: dict[str, str],
    progress: Callable[[str], None],
) -> list[Verdict]:
    """One server for each state a client can be in.

    Raises MisuseError for a command without a port and for a database that is not local.
    """
    if os.name != "posix":
        return [Verdict("stop", CANNOT_TELL, "there is no SIGTERM on this system")]
    command = options.serve or _usual(options, folder)
    _refuse_unusable(command)
    _refuse_remote(options)
    stop = _Stop(options, command, headers, progress)
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(stop.looked(requests))


def _usual(options: Any, folder: Path) -> str:
    words = [sys.executable, "-m", "uvicorn", options.app, "--app-dir", str(folder)]
    return shlex.join(words + ["--factory"] * options.factory) + " --port {port}"


def _refuse_unusable(command: str) -> None:
    try:
        shlex.split(command)
    except ValueError as error:
        raise MisuseError(f"--serve cannot be read: {error}") from error
    if "{port}" not in command:
        raise MisuseError("--serve says nowhere which port: write {port} in it")


def _refuse_remote(options: Any) -> None:
    """Look at the variables: in a process of its own the server's connections cannot be refused."""
    network = Network(options.host)
    for name in os.environ:
        value = os.environ[name]
        if value.partition("://")[0].partition("+")[0] not in DATABASES or options.allow_remote:
            continue
        try:
            host = urlsplit(value).hostname or ""
        except ValueError:
            continue  # the application will say so itself
        if not network.allows(host):
            text = "the requests of the probe go there; --allow-remote if that is all right"
            raise MisuseError(f"${name} names a database on {host}: {text}")


class _Stop:
    def __init__(
        self, options: Any, command: str, headers: dict[str, str], progress: Callable[[str], None]
    ) -> None:
        self.command, self.progress = command, progress
        self.headers = dict(headers)
        self.patience, self.drain = options.patience, max(options.limit, options.patience)
        self.stream, self.socket, self.serve = options.stream, options.socket, options.serve
        self.ready: str | None = options.ready
        self.before = ""  # what readiness said before the first SIGTERM
        self.runs: list[Seen] = []

    async def looked(self, requests: list[Request]) -> list[Verdict]:
        for request in requests[:1]:
            self.headers |= request.headers  # those that --setup returned are among them
        found = [await self._judged(Idle(self.headers))]
        if found[0].verdict == OK:
            for client in self._clients(requests):
                found.append(await self._judged(client))
            found += self._unknown(requests)
            found.append(await self._readiness())
        return found

    def _clients(self, requests: list[Request]) -> list[Client]:
        sockets = [each for each in requests if each.method == "WS"]
        if self.socket:
            sockets = [Request("WS", self.socket, "", dict(self.headers))]
        bodies = [each for each in requests if each.body and each.method != "WS"]
        clients: list[Client] = [InFlight(each) for each in bodies[:1]]
        if self.stream:
            clients.append(Stream(Request("GET", self.stream, "", dict(self.headers))))
        return clients + [Socket(each) for each in sockets]

    def _unknown(self, requests: list[Request]) -> list[Verdict]:
        why = []
        if not any(each.body and each.method != "WS" for each in requests):
            why.append("to hold a request in flight give one with a body: the body is held back")
        if not self.stream:
            why.append("--stream PATH names a stream to keep open")
        if not self.socket and not any(each.method == "WS" for each in requests):
            why.append("--socket PATH names a WebSocket to keep open")
        return [Verdict("stop", CANNOT_TELL, each) for each in why]

    async def _judged(self, client: Client) -> Verdict:
        try:
            seen = await self._stopped(client)
        except StartError as error:
            return Verdict("stop", CANNOT_TELL, f"the server does not start: {error}")
        except UnopenedError as error:
            return Verdict("stop", CANNOT_TELL, str(error), request=client.label)
        except RequestError as error:
            says = f"{error}, which stop does not call: name a probe that does beside it"
            return Verdict("stop", CANNOT_TELL, says, request=client.label)
        return self._verdict(client, seen)

    def _verdict(self, client: Client, seen: Seen) -> Verdict:
        problem, trap = self._unended(client, seen)
        says = f"SIGTERM with {client.what}: "
        if not problem and client.lost:
            problem, trap = f"{client.said}; {seen.how}", DRAIN
        if not problem:
            said = f"{client.said}, " if client.said else ""
            return Verdict("stop", OK, f"{says}{said}{seen.how}", seen.errors, "", client.label)
        evidence = [*seen.errors]
        if not self.serve:
            evidence.append(f"started by {self.command}; --serve for a command of your own")
        return Verdict("stop", FOUND, says + problem, evidence, trap, client.label)

    def _unended(self, client: Client, seen: Seen) -> tuple[str, str]:
        """What is wrong with the end of the server, and which trap that is."""
        if seen.done:
            return "", ""
        waited = f"{self.patience:.0f} s"
        if seen.ended is not None:
            return "the process that was started ended, and its port is still served", SHELL
        if seen.closed is not None:
            trap = client.trap or GRACE
            return f"it had not ended {waited} after it took its last request", trap
        if seen.fell:
            return f"it still takes requests {self.drain:.0f} s after it", GRACE
        return f"it still takes requests {waited} after it", HANDLER

    async def _readiness(self) -> Verdict:
        if not self.ready:
            return Verdict("stop", CANNOT_TELL, "it is not known where readiness is: --ready PATH")
        label = f"GET {self.ready}"
        if self.before[:1] not in ("2", "3"):
            says = f"readiness says {self.before} before SIGTERM too"
            return Verdict("stop", CANNOT_TELL, says, request=label)
        if len(self.runs) < 2 and not self.runs[0].fell:
            await self._judged(Idle(self.headers))  # a busy machine may have hidden it
        best = max(self.runs, key=lambda seen: seen.fell)
        said = best.story
        if best.fell:
            return Verdict("stop", OK, said, request=label)
        evidence = ["a balancer still sends what it refuses, unless a preStop hook waits first"]
        return Verdict("stop", FOUND, said, evidence, DRAIN, label)

    async def _stopped(self, client: Client) -> Seen:
        self.progress(f"stop, with {client.what}: the server starts")
        async with serving(self.command, self.headers) as server:
            await self._find_ready(server)
            closed = asyncio.Event()
            try:
                await client.begins(server.port)
                before = len(server.text)
                self.progress(f"stop, with {client.what}: SIGTERM was sent")
                server.terminate()
                task = asyncio.create_task(client.goes_on(closed, self.patience))
                seen = await self._watched(server, closed)
                closed.set()
                await asyncio.wait({task}, timeout=client.waits)
                task.cancel()
                await asyncio.wait({task})
            finally:
                client.close()
            lines = server.text[before:].splitlines()
        seen.errors = [line[:150] for line in lines if "ERROR" in line or "Traceback" in line][:3]
        self.runs.append(seen)
        return seen

    async def _find_ready(self, server: Server) -> None:
        """Where readiness is, by the application's own description; what it says now."""
        if not self.ready:
            answer = await server.ask("/openapi.json", self.headers)
            try:
                paths = json.loads(answer.body)["paths"]
            except (ValueError, KeyError, TypeError):
                paths = ()
            self.ready = next((path for path in paths if READY.search(path)), None)
        if self.ready and not self.before:
            self.before = (await server.ask(self.ready, self.headers)).told

    async def _watched(self, server: Server, closed: asyncio.Event) -> Seen:
        """Until the server is gone, or patience beyond the last new request that it took.

        A drain that readiness tells of may take as long as one probe may.
        """
        seen, begun = Seen(), time.monotonic()
        end, report = begun + self.patience, begun + REPORT
        while True:
            ended = server.ended  # before the port is looked at: what is gone has no port
            told = await self._told(server, closed)
            now = time.monotonic()
            if seen.told[-1:] != [told]:
                seen.told.append(told)
            if not told and seen.closed is None:
                self.progress("stop: it takes no requests any more, and is to end")
                seen.closed, end = now - begun, now + self.patience
                closed.set()
            if seen.closed is None and seen.fell:
                end = begun + self.drain
            if ended and seen.ended is None:
                seen.ended, seen.code = now - begun, server.process.returncode
            if seen.done or now > end:
                return seen
            if now > report:
                self.progress(f"stop: {now - begun:.0f} s after SIGTERM the server is still there")
                report = now + REPORT
            await asyncio.sleep(BEAT)

    async def _told(self, server: Server, closed: asyncio.Event) -> str:
        """What readiness says; where it is not known, whether anything is answered.

        A port may be open without anybody behind it: a parent that waits for its workers. So the
        client in flight goes on as soon as an answer is late, or its server gives it up meanwhile.
        """
        asking = asyncio.create_task(server.ask(self.ready or "/", self.headers))
        if not (await asyncio.wait({asking}, timeout=LATE))[0]:
            closed.set()
        answer = await asking
        if not answer.status:
            return ""
        return answer.told if self.ready else "answered"
