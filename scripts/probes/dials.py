"""Connections that each request opens anew: a client, or an engine, for a request."""

from .core.run import Run
from .core.verdict import CANNOT_TELL, FOUND, OK, Verdict

ENGINE = "pooling/database#one-engine-in-the-lifespan"
CLIENT = "pooling/http#one-bounded-session-per-process"


async def look(run: Run) -> list[Verdict]:
    """What was dialled in every run after the first."""
    each = set.intersection(*(set(trace.dials) for trace in run.traces))
    unpooled = [hold.taken for hold in run.trace.holds if not hold.pooled]
    gone = {*run.leaks, *unpooled}  # what checkouts has spoken of
    lost = {what for what in each if what.rpartition(" opened at ")[2] in gone}
    wasted, databases = each - lost, run.trace.databases
    found = [
        _found(run, sorted(some), trap)
        for some, trap in ((wasted & databases, ENGINE), (wasted - databases, CLIENT))
        if some
    ]
    if found and run.answer.left:
        dials = "; ".join(line for verdict in found for line in verdict.evidence)
        why = f"each client that stays has a connection of its own, as LISTEN needs: {dials}"
        return [Verdict("dials", CANNOT_TELL, why)]
    if found:
        return found
    if lost or all(trace.connects for trace in run.traces):
        why = "it keeps no connection to the database: see checkouts"
        return [Verdict("dials", CANNOT_TELL, why)]
    undialled = set().union(*(trace.undialled for trace in run.traces))
    if undialled:
        why = "not each connection that it wants could be opened; --host allows those of a host"
        return [Verdict("dials", CANNOT_TELL, f"{why}: at {', '.join(sorted(undialled))}")]
    opened = any(trace.dials for trace in run.traces)
    return [Verdict("dials", OK, "its connections are reused" if opened else "it opens none")]


def _found(run: Run, dials: list[str], trap: str) -> Verdict:
    evidence = [f"{run.trace.dials[what]} x to {what}" for what in dials]
    says = "each request opens connections that the next one does not use"
    return Verdict("dials", FOUND, says, evidence, trap)
