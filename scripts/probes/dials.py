"""Connections that each request opens anew: a client, or an engine, for a request."""

from .core.run import Run
from .core.verdict import CANNOT_TELL, FOUND, OK, Verdict


async def look(run: Run) -> list[Verdict]:
    """What was dialled in every run after the first."""
    each = set.intersection(*(set(trace.dials) for trace in run.traces))
    unpooled = [hold.taken for hold in run.trace.holds if not hold.pooled]
    gone = {*run.leaks, *unpooled}  # what checkouts has spoken of
    lost = {what for what in each if what.rpartition(" opened at ")[2] in gone}
    if each - lost:
        evidence = [f"{run.trace.dials[what]} x to {what}" for what in sorted(each - lost)]
        says = "each request opens connections that the next one does not use"
        trap = "pooling/http#one-bounded-session-per-process"
        return [Verdict("dials", FOUND, says, evidence, trap)]
    if lost:
        why = "it keeps no connection to the database: see checkouts"
        return [Verdict("dials", CANNOT_TELL, why)]
    opened = any(trace.dials for trace in run.traces)
    return [Verdict("dials", OK, "its connections are reused" if opened else "it opens none")]
