"""Which connections a request takes, for how long, and whether they come back."""

from collections.abc import Iterator

from .core.run import Limits, Run
from .core.trace import Gap, Trace
from .core.verdict import CANNOT_TELL, FOUND, OK, Verdict

NULLPOOL = (
    "its engine has a NullPool: right in front of a pooler such as PgBouncer, and otherwise a"
    " connection for each request"
)
NONE = Gap(0.0, "", "")
HELD = {
    True: "sqlalchemy/sessions#slow-call-inside-the-block",
    False: "pooling/tuning#connection-held-across-a-call",
}
LEAKED = "pooling/tuning#leaked-connections"
STREAMS = "fastapi/dependencies#sessions-for-streams"


async def look(run: Run) -> list[Verdict]:
    """Two at once, one out after the last byte, one idle in its transaction."""
    if not run.trace.holds:
        why = "no connection was taken from a pool of SQLAlchemy's or asyncpg's"
        return [Verdict("checkouts", CANNOT_TELL, why)]
    if suspicious(run.traces, run.limits) and len(run.traces) < 7:
        await run.observe(4)  # a busy machine does not make each run slow
    found = [*_nested(run.trace), *_unreturned(run), *_streamed(run.trace), *_idle(run)]
    if found:
        return found
    longest = min(max(_gaps(trace)).seconds for trace in run.traces)
    if not run.pooled:
        return [Verdict("checkouts", CANNOT_TELL, NULLPOOL)]
    says = f"{len(run.trace.holds)} taken, all back, idle for {longest * 1000:.1f} ms at most"
    return [Verdict("checkouts", OK, says)]


def suspicious(traces: list[Trace], limits: Limits) -> bool:
    """Whether one lay idle for long in each run so far."""
    longest, awaited = _shortest(traces)
    return longest.seconds > limits.idle or awaited.awaited > limits.wait


def _found(says: str, evidence: list[str], trap: str) -> Verdict:
    return Verdict("checkouts", FOUND, says, evidence, trap)


def _nested(trace: Trace) -> Iterator[Verdict]:
    pairs = sorted(set(trace.nested))
    for first in dict.fromkeys(first for first, _ in pairs):
        says = "a second connection was taken while the request held one: a pool of one would hang"
        evidence = [f"second at {second}" for other, second in pairs if other == first]
        yield _found(says, [f"first at {first}", *evidence], "pooling/database#nested-checkout")


def _unreturned(run: Run) -> Iterator[Verdict]:
    if run.leaks:
        evidence = [f"taken at {place}" for place in sorted(set(run.leaks))]
        trap = STREAMS if run.trace.streamed else LEAKED
        yield _found("a connection was not given back with the response", evidence, trap)
    elif all(trace.connects and run.pooled for trace in run.traces):
        noun = "a connection" if run.trace.connects == 1 else f"{run.trace.connects} connections"
        says = f"each request opens {noun} to the database"
        evidence = [f"opened at {place}" for place in dict.fromkeys(run.trace.opened)]
        yield _found(says, evidence, "pooling/database#one-engine-in-the-lifespan")


def _streamed(trace: Trace) -> Iterator[Verdict]:
    if trace.streamed:
        says = "a connection is out while the body is sent, for as long as the client reads"
        yield _found(says, [f"taken at {place}" for place in trace.streamed], STREAMS)


def _idle(run: Run) -> Iterator[Verdict]:
    longest, awaited = _shortest(run.traces)
    if awaited.awaited > run.limits.wait:
        gap, why = awaited, f"{awaited.awaited * 1000:.0f} ms awaited at {awaited.awaiting}"
    elif longest.seconds > run.limits.idle:
        gap, why = longest, "nothing was awaited: the code itself, or a call that blocks"
    else:
        return
    inside = " inside its transaction" if gap.open else ""
    says = f"a connection lay idle for {gap.seconds * 1000:.0f} ms{inside}"
    evidence = [f"taken at {gap.taken}", why, f"ended by {gap.ended}"]
    yield _found(says, evidence, HELD[gap.open])


def _gaps(trace: Trace) -> list[Gap]:
    return [gap for hold in trace.holds for gap in hold.gaps] or [NONE]


def _shortest(traces: list[Trace]) -> tuple[Gap, Gap]:
    """The longest gap, and the longest await in one, of the run in which each was shortest."""
    gaps = [_gaps(trace) for trace in traces]
    longest = min((max(each) for each in gaps), key=lambda gap: gap.seconds)
    awaited = min(
        (max(each, key=lambda gap: gap.awaited) for each in gaps), key=lambda gap: gap.awaited
    )
    return longest, awaited
