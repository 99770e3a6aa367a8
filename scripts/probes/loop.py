"""How long the event loop stands still in a request."""

from .core.run import Run
from .core.verdict import CANNOT_TELL, FOUND, OK, Verdict

UNSEEN = "no line was seen: C code that keeps the interpreter's lock, as some hashes do"
BUSY = "the machine is busy, or C code in a thread keeps the interpreter's lock"
TRAP = "asyncio/structured-concurrency#blocking-calls-on-the-loop"


async def look(run: Run) -> list[Verdict]:
    """The longest stall that came in every run, and calls that block, however short."""
    if min(stall.seconds for stall in run.stalls) > run.limits.stall and len(run.stalls) < 7:
        await run.observe(4)  # a busy machine does not make each run slow
    shortest = min(run.stalls, key=lambda stall: stall.seconds)
    blocking = [f"{count} x {what}" for what, count in run.trace.blocking.most_common(3)]
    took = f"{shortest.seconds * 1000:.0f} ms"
    idle = shortest.place.startswith("selectors:")
    if shortest.seconds > run.limits.stall and idle and not blocking:
        why = f"the loop was not woken for {took}: {BUSY}"
        return [Verdict("loop", CANNOT_TELL, why)]
    if shortest.seconds > run.limits.stall and not idle:
        says = f"the loop stood still for {took} at least, in each of {len(run.stalls)} runs"
        place = next((stall.place for stall in [shortest, *run.stalls] if stall.place), "")
        evidence = [f"most of it at {place}" if place else UNSEEN]
        return [Verdict("loop", FOUND, says, evidence + blocking, TRAP)]
    if blocking:
        return [Verdict("loop", FOUND, "a call blocked the loop's thread", blocking, TRAP)]
    return [Verdict("loop", OK, f"its longest stall took {took}")]
