"""The runs of one request that all probes look at, and more runs for those that need them."""

import asyncio
import gc
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .client import Answer, send
from .loop import Stall, stalls
from .places import raised
from .requests import Request
from .tasks import task_factory
from .trace import Trace

BLIND = "the application sets a task factory of its own, so its tasks are not seen"

LIMITED = "lift the rate limit while this runs"
GIVE = {
    (401, 403): "give a --header 'Authorization: ...', or headers by --setup",
    (404, 410): "is there such a path? what it asks for is made in --setup, and named {{name}}",
    (405, 501): "give another method",
    (409,): "give {{uuid}} where a value must not come twice",
    (429,): LIMITED,
    (400, 415, 422): "give what it misses: --request 'METHOD PATH BODY'",
}


@dataclass
class Limits:
    """What counts as long, in seconds, and how much is tried."""

    idle: float = 0.03  # that a connection may be out while code runs
    wait: float = 0.002  # that it may be out while something else is awaited
    stall: float = 0.05  # that the loop may stand still
    points: int = 40  # awaits at which a request is cancelled
    request: float = 10.0  # until a request counts as stuck
    patience: float = 0.5  # that a client reads a stream, or a WebSocket
    settle: float = 1.0  # that tasks and connections have after a cancel
    ready: float = 5.0  # that an orchestrator waits for readiness, at most
    live: float = 1.0  # and for liveness
    cuts: float = 40.0  # that all cancels of a request may take


@dataclass
class Run:
    """A request that was sent a few times as it is: the traces, the stalls, what leaked."""

    app: Any
    state: dict[str, Any]
    request: Request
    limits: Limits
    traces: list[Trace] = field(default_factory=list)
    stalls: list[Stall] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)  # connections that were not given back
    usual: list[str] = field(default_factory=list)  # tasks that outlive the request anyway
    answer: Answer = field(default_factory=Answer)
    limited: bool = False  # it was answered 429
    broken: bool = False  # what a probe made fail once has stayed broken
    blind: bool = False  # the application's own task factory hides its tasks

    @property
    def trace(self) -> Trace:
        """The latest plain run."""
        return self.traces[-1]

    @property
    def pooled(self) -> bool:
        """Whether any of its connections came from a pool that keeps them."""
        return not self.trace.holds or any(hold.pooled for hold in self.trace.holds)

    @property
    def redirect(self) -> str:
        """Where it is sent instead of an answer, or an empty string."""
        location = self.answer.header("location") if 300 <= self.answer.told < 400 else None
        return location or ""

    @property
    def failed(self) -> str:
        """Why nothing can be told of the request, or an empty string."""
        if self.answer.stuck:
            seconds, at = self.limits.request, self.answer.waits
            return f"it did not end in {seconds:.0f} s: it waits at {at}"
        elsewhere, asked = urlsplit(self.redirect).path, self.request.filled()[0].partition("?")[0]
        if self.redirect and asked != elsewhere and asked.rstrip("/") == elsewhere.rstrip("/"):
            return f"it is answered {self.answer.told}, as the path has to be {elsewhere}"
        if self.answer.told < 400:
            return ""
        told = self.answer.told
        raised_by = self.answer.error
        error = f" {raised_by!r} at {raised(raised_by)}" if raised_by else ""
        give = next((f" ({text})" for statuses, text in GIVE.items() if told in statuses), "")
        if told in (400, 415, 422) and self.request.fault:
            give = f" ({self.request.fault})"
        if len(self.traces) > 1:
            give = f", after {len(self.traces) - 1} that went well: it cannot be repeated as it is"
        return f"it is answered {told}{give}: {self.answer.text[:300]}{error}"

    async def observe(self, times: int) -> None:
        """Send it so many times, nothing going wrong."""
        for _ in range(times):
            trace = Trace()
            with stalls() as stall:
                self.answer = await self.send(trace)
            self.blind = asyncio.get_running_loop().get_task_factory() is not task_factory
            self.stalls.append(stall)
            self.usual = trace.alive()
            await settled(trace, self.usual, 0.3)
            self.leaks += [hold.taken for hold in trace.out] + trace.collected
            self.traces.append(trace)
            if self.answer.told >= 400 or self.answer.stuck:
                break

    async def again(self, trace: Trace, **changes: Any) -> Answer:
        """Send it once more, with what the trace says going wrong."""
        answer = await self.send(trace, **changes)
        await settled(trace, (), 0.1)
        return answer

    async def send(self, trace: Trace, **changes: Any) -> Answer:
        """Send it once, and wait for nothing else."""
        limits = {"limit": self.limits.request, "patience": self.limits.patience}
        answer = await send(self.app, self.state, self.request, trace, **limits, **changes)
        self.limited = self.limited or answer.told == 429
        return answer


async def settled(trace: Trace, usual: Any = (), limit: float = 1.0) -> None:
    """Wait until its connections are back and its tasks have ended, `limit` seconds at most."""
    end = time.perf_counter() + limit
    while (trace.out or set(trace.alive()) - set(usual)) and time.perf_counter() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def collect(trace: Trace, answer: Answer) -> None:
    """Let the collector take what only the request still refers to, as under a server."""
    trace.main = answer.error = None
    gc.collect()
