"""Run the probes on each request of an application, and gather what they say."""

import asyncio
import gc
import importlib
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import health, tasks
from . import application, asyncpg_hooks, database, libpq_hooks, network
from .client import LATEST
from .places import look_below
from .requests import Request
from .routes import guessed, readable
from .run import LIMITED, Limits, Run
from .tasks import task_factory
from .trace import Trace
from .verdict import CANNOT_TELL, FOUND, Verdict

# The probes of a request in the order of their worth; each is a module beside this folder.
OF_A_REQUEST = (
    "commit", "checkouts", "loop", "errors", "dials", "cancel", "statements", "inputs",
)  # fmt: skip
SPOILING = "restart"  # leaves connections in the pool that the next requests have to replace
BREAKING = ("commit", "errors", "cancel")  # what the application has to survive
OF_A_SESSION = ("PendingRollbackError", "InvalidRequestError")
SHARED = "sqlalchemy/sessions#session-shared-by-tasks"
STAYS = "what failed once stays broken; the probes after it could tell nothing"
NO_FURTHER = "what it is sent to is not looked at"
SHUTDOWN = "fastapi/lifespan#a-shutdown-longer-than-its-grace-period"
Setup = Callable[[Any, dict[str, Any]], Any]
Progress = Callable[[str], None]


class MisuseError(Exception):
    """Nothing can be told for a reason the user can mend; the message says which."""


@dataclass
class Plan:
    """What to probe, and how."""

    requests: list[Request]
    wanted: set[str]
    limits: Limits = field(default_factory=Limits)
    ready: Request | None = None
    live: Request | None = None
    setup: Setup | None = None
    hosts: list[str] = field(default_factory=list)
    any_database: bool = False
    limit: float = 60.0  # seconds for one probe of a request
    folder: Path = field(default_factory=Path)  # where the application's code is
    guess: dict[str, str] | None = None  # ask the application for paths; the headers for them
    freeze: bool = True  # keep what is there at the start from the collector, which is then quick


async def examine(app: Any, plan: Plan, progress: Progress = lambda _: None) -> list[Verdict]:
    """Start the application, send its requests, probe each, and stop the application.

    Raises MisuseError when the application wants what it may not have, ApplicationError when it
    does not start or stop or the set-up fails, RequestError for a placeholder without a value.
    """
    loop = asyncio.get_running_loop()
    look_below(plan.folder)
    around, seen = network.Network(plan.hosts), database.Seen()
    allowed = (lambda _: True) if plan.any_database else around.allows
    usual, handler = loop.get_task_factory(), loop.get_exception_handler()
    with ExitStack() as stack:
        stack.enter_context(database.watched(allowed, seen))
        stack.enter_context(asyncpg_hooks.watched(allowed, seen))
        stack.enter_context(libpq_hooks.watched(allowed, seen))
        stack.enter_context(network.guarded(around))
        stack.callback(loop.set_task_factory, usual)
        stack.callback(loop.set_exception_handler, handler)
        if plan.freeze:
            stack.callback(gc.unfreeze)
        loop.set_task_factory(task_factory)
        stack.enter_context(network.dials_counted(loop))
        session = _Session(app, plan, progress, seen)
        try:
            found = await session.run()
        finally:
            if seen.refused:
                names = ", ".join(sorted(seen.refused))
                text = "every probe may spoil its data; --allow-remote if that is all right"
                raise MisuseError(f"the application's database is on {names}: {text}")
    for host, count in around.refused.items():
        says = f"{count} connections to {host} were refused; --host {host} allows them"
        found.append(Verdict("network", CANNOT_TELL, says))
    return found


class _Session:
    def __init__(self, app: Any, plan: Plan, progress: Progress, seen: database.Seen) -> None:
        self.app, self.plan, self.progress, self.seen = app, plan, progress, seen

    async def run(self) -> list[Verdict]:
        found: list[Verdict] = []
        runs: list[Run] = []
        last: list[tuple[Run, Trace, int]] = []  # and the status
        try:
            async with application.running(self.app) as state:
                await self._prepare(state)
                for request in self.plan.requests:
                    run = Run(self.app, state, request, self.plan.limits)
                    found += await self._probed(run)
                    if not run.failed:
                        runs.append(run)
                found += await self._health(state)
                for run in runs:
                    if SPOILING in self.plan.wanted and not run.broken:
                        found += await self._looked(SPOILING, run)
                if "tasks" in self.plan.wanted:
                    for run in runs:
                        trace = Trace()
                        last.append((run, trace, (await run.send(trace)).told))
                self.progress("the application stops")
        except application.ApplicationError as error:
            if not found:
                raise
            says, _, words = str(error).partition(": ")
            late = words.startswith("no answer in")
            trap = SHUTDOWN if late else ""
            found.append(Verdict("lifespan", FOUND, says, words.splitlines()[-5:], trap))
        found += [_named(tasks.judge(*each), each[0].request) for each in last]
        return found

    async def _prepare(self, state: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._hear(loop.get_exception_handler()))
        self._guess()
        await self._set_up(state)
        self.seen.alone = 0
        gc.collect()
        if self.plan.freeze:
            gc.freeze()

    def _guess(self) -> None:
        """Take from the application's own routes what was not named.

        Not before it has started: FastAPI keeps what its schema is made of, and what startup adds
        to the routes would come too late.
        """
        plan = self.plan
        if plan.guess is None:
            return
        paths, headers = guessed(self.app), plan.guess
        if plan.ready is None and paths.ready:
            plan.ready = Request("GET", paths.ready, "", dict(headers))
        if plan.live is None and paths.live:
            plan.live = Request("GET", paths.live, "", dict(headers))
        if not plan.requests:
            plan.requests += [
                Request("GET", path, "", dict(headers)) for path in readable(self.app)
            ]
        if not (plan.requests or plan.ready or plan.live):
            text = "no --request, and no GET route without parameters to send instead"
            raise MisuseError(text)

    async def _set_up(self, state: dict[str, Any]) -> None:
        if self.plan.setup is None:
            return
        try:
            values = self.plan.setup(self.app, state)
            values = dict((await values if asyncio.iscoroutine(values) else values) or {})
            headers = {name.lower(): value for name, value in values.pop("headers", {}).items()}
        except Exception as error:
            text = f"--setup failed:\n{application.last_words(error)}"
            raise application.ApplicationError(text) from error
        for request in [*self.plan.requests, self.plan.ready, self.plan.live]:
            if request is not None:
                request.values = values
                request.headers |= headers

    async def _probed(self, run: Run) -> list[Verdict]:
        self.progress(f"{run.request.label}: as it is")
        await run.observe(4)
        if run.failed:
            return [Verdict("request", CANNOT_TELL, run.failed, request=run.request.label)]
        del run.traces[0], run.stalls[0]  # the first one warms up
        found: list[Verdict] = []
        if run.redirect:
            says = f"it is answered {run.answer.told}, and sent to {run.redirect}: {NO_FURTHER}"
            found.append(Verdict("request", CANNOT_TELL, says))
        for name in OF_A_REQUEST:
            if name in self.plan.wanted:
                found += await self._looked(name, run)
            if run.limited:
                run.broken = True
                break
            if name in BREAKING and name in self.plan.wanted:
                answer = await run.again(Trace())
                if name == "cancel" and answer.told >= 500 and not answer.stuck:
                    answer = await run.again(Trace())  # the one before replaced a connection
                if answer.stuck or answer.told >= 500:
                    told = f"is answered {answer.told} {answer.error!r}"
                    told = f"does not end, and waits at {answer.waits}" if answer.stuck else told
                    says = f"after it the request as it is {told}"
                    kind = FOUND if name == "commit" else CANNOT_TELL  # a breaker may be open
                    shared = type(answer.error).__name__ in OF_A_SESSION
                    found.append(Verdict(name, kind, says[:300], [STAYS], SHARED if shared else ""))
                    run.broken = True
                    break
        return [_named(each, run.request) for each in found]

    async def _looked(self, name: str, run: Run) -> list[Verdict]:
        self.progress(f"{run.request.label}: {name}")
        look = importlib.import_module(f"...{name}", __name__).look
        found = await self._within_limit(name, look(run))
        if run.limited:
            found = [Verdict(name, CANNOT_TELL, f"requests are answered 429: {LIMITED}")]
        return [_named(each, run.request) for each in found]

    async def _health(self, state: dict[str, Any]) -> list[Verdict]:
        if "health" not in self.plan.wanted:
            return []
        if self.plan.ready is None and self.plan.live is None:
            why = "it is not known which paths an orchestrator asks: --ready PATH --live PATH"
            return [Verdict("health", CANNOT_TELL, why)]
        self.progress("health")
        look = health.look(self.app, state, self.plan, self.seen)
        return await self._within_limit("health", look)

    async def _within_limit(self, name: str, look: Awaitable[list[Verdict]]) -> list[Verdict]:
        try:
            async with asyncio.timeout(self.plan.limit):
                return await look
        except TimeoutError:
            says = f"it took longer than {self.plan.limit:.0f} s (--limit)"
            return [Verdict(name, CANNOT_TELL, says)]

    @staticmethod
    def _hear(usual: Any) -> Any:
        """Note what tasks of the user's raised without anybody looking."""

        def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            task = context.get("task") or context.get("future")
            trace = LATEST[-1] if LATEST else Trace()
            started = trace.started.get(id(task))
            if started and started.users and context["message"].startswith("Task"):
                trace.errors.append(f"{context['message']}: {started.label}")
            (usual or (lambda loop, context: loop.default_exception_handler(context)))(
                loop, context
            )

        return handle


def _named(verdict: Verdict, request: Request) -> Verdict:
    verdict.request = request.label
    return verdict


def told(verdicts: list[Verdict]) -> bool:
    """Whether anything at all could be told."""
    return any(each.verdict != CANNOT_TELL for each in verdicts)
