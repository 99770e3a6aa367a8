"""The request is cancelled at each of its awaits, and the client leaves: what stays behind?"""

import time
from collections import Counter
from dataclasses import dataclass, field

from .core.run import BLIND, Run, collect, settled
from .core.trace import Trace
from .core.verdict import CANNOT_TELL, FOUND, OK, Verdict

CANCELLED, LEFT = "cancelled", "its client left"
SWALLOWED = "asyncio/cancellation#retry-loops"
TASK = "asyncio/taskgroup#own-background-tasks"
CONNECTION = "pooling/tuning#leaked-connections"
CLEANUP = "asyncio/cancellation#cleanup-that-must-finish"
SAYS = {
    SWALLOWED: "a cancel came to nothing",
    TASK: "a task of the request goes on without it",
    CONNECTION: "a connection is not given back",
    CLEANUP: "the cleanup is not finished",
}


@dataclass
class _Seen:
    """What went wrong, by trap, how the request ended, and what; and how often."""

    problems: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    swallowed: list[int] = field(default_factory=list)  # awaits whose cancel came to nothing
    runs: int = 0
    stuck: int = 0

    def add(self, trap: str, kind: str, what: str) -> None:
        self.problems[trap, kind, what] += 1


async def look(run: Run) -> list[Verdict]:
    """One run for each await, up to a number of them; half as many clients leave."""
    if run.leaks:
        why = "a connection is not given back without any cancel"
        return [Verdict("cancel", CANNOT_TELL, why)]
    if run.blind:
        return [Verdict("cancel", CANNOT_TELL, BLIND)]
    awaits = run.trace.suspensions
    if not awaits:
        return [Verdict("cancel", CANNOT_TELL, "it never waits, so nothing can cut it")]
    most = min(6, run.limits.points) if run.answer.left else run.limits.points
    slow = 3 * (run.answer.seconds + run.limits.settle / 10)  # a plain request, a cut one, a rest
    most = max(2, min(most, int(run.limits.cuts / slow)))
    step = -(-awaits // most)
    end = time.perf_counter() + run.limits.cuts
    seen = _Seen()
    for kind, stride in ((CANCELLED, step), (LEFT, 2 * step)):
        for point in range(1, awaits + 1, stride):
            await _ended_at(run, kind, point, seen)
            if seen.stuck > 1 or time.perf_counter() > end:
                break
    verdicts = _verdicts(seen, f"{seen.runs} runs over {awaits} awaits")
    if verdicts[0].verdict == OK and time.perf_counter() > end:
        says = f"{verdicts[0].says}, and there was no time for more (--limit)"
        return [Verdict("cancel", CANNOT_TELL, says)]
    return verdicts


def _verdicts(seen: _Seen, runs: str) -> list[Verdict]:
    found = []
    if seen.swallowed:
        points = ", ".join(map(str, sorted(seen.swallowed)[:10]))
        evidence = [f"answered as if nothing was, cancelled at await {points}"]
        found.append(Verdict("cancel", FOUND, f"{runs}: {SAYS[SWALLOWED]}", evidence, SWALLOWED))
    for trap in (TASK, CONNECTION, CLEANUP):
        mine = {key: count for key, count in seen.problems.items() if key[0] == trap}
        ordered = sorted(mine.items(), key=lambda item: -item[1])
        evidence = [f"{count} x when {kind}: {what}" for (_, kind, what), count in ordered[:8]]
        if evidence:
            found.append(Verdict("cancel", FOUND, f"{runs}: {SAYS[trap]}", evidence, trap))
    return found or [Verdict("cancel", OK, f"{runs}: nothing was left behind")]


async def _ended_at(run: Run, kind: str, point: int, seen: _Seen) -> None:
    # A cancel costs a connection, and connecting shifts the awaits: a plain request in between.
    plain = await run.again(Trace())
    if plain.stuck:
        seen.stuck += 1
        seen.add(CLEANUP, kind, f"a plain request after it does not end: it waits at {plain.waits}")
        return
    if plain.told >= 400:
        error = f": {plain.error!r}"[:200] if plain.error else ""
        seen.add(CLEANUP, kind, f"a plain request after it is answered {plain.told}{error}")
    trace = Trace(cancel_at=point) if kind == CANCELLED else Trace(leave_at=point)
    answer = await run.again(trace)
    ended, told = answer.cancelled, answer.told
    seen.runs += 1
    seen.stuck += answer.stuck
    collect(trace, answer)
    await settled(trace, run.usual, run.limits.settle)
    out = {f"one is out, taken at {hold.taken}" for hold in trace.out}
    out |= {f"the garbage collector got one taken at {each}" for each in trace.collected}
    for what in out:
        seen.add(CONNECTION, kind, what)
    for what in {*trace.alive()} - {*run.usual} | {*trace.errors}:
        seen.add(TASK, kind, what)
    if answer.stuck:
        seen.add(CLEANUP, kind, f"the request did not end: it waits at {answer.waits}")
    through = trace.suspensions > point and not ended and answer.complete and told < 400
    if kind == CANCELLED and through:
        seen.swallowed.append(point)
