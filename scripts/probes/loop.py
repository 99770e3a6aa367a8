"""How long the event loop stands still in a request."""

from .core.run import Run
from .core.verdict import FOUND, OK, Verdict

TRAP = "asyncio/structured-concurrency#blocking-calls-on-the-loop"


async def look(run: Run) -> list[Verdict]:
    """The longest stall that came in every run, and calls that block, however short."""
    if min(stall.seconds for stall in run.stalls) > run.limits.stall and len(run.stalls) < 7:
        await run.observe(4)  # a busy machine does not make each run slow
    shortest = min(run.stalls, key=lambda stall: stall.seconds)
    blocking = [f"{count} x {what}" for what, count in run.trace.blocking.most_common(3)]
    took = f"{shortest.seconds * 1000:.0f} ms"
    if shortest.seconds > run.limits.stall:
        says = f"the loop stood still for {took} at least, in each of {len(run.stalls)} runs"
        evidence = [f"most of it at {shortest.place}"] if shortest.place else []
        return [Verdict("loop", FOUND, says, evidence + blocking, TRAP)]
    if blocking:
        return [Verdict("loop", FOUND, "a call blocked the loop's thread", blocking, TRAP)]
    return [Verdict("loop", OK, f"its longest stall took {took}")]
