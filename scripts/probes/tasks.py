"""What still runs when the lifespan has ended."""

from .core.run import BLIND, Run
from .core.trace import Trace
from .core.verdict import CANNOT_TELL, FOUND, OK, Verdict


def judge(run: Run, last: Trace, status: int) -> Verdict:
    """`last` is a request sent right before the shutdown, looked at after it."""
    if status >= 400:
        says = f"the request before the shutdown is answered {status}"
        return Verdict("tasks", CANNOT_TELL, says)
    if run.blind:
        return Verdict("tasks", CANNOT_TELL, BLIND)
    lost = sorted(set(last.alive()))
    if lost:
        says = "a task still runs when the lifespan has ended: nothing waits for it"
        trap = "asyncio/taskgroup#own-background-tasks"
        return Verdict("tasks", FOUND, says, lost, trap)
    if run.usual:
        says = "went on after the response, ended before the shutdown did"
        return Verdict("tasks", OK, says, sorted(set(run.usual)))
    return Verdict("tasks", OK, "none outlived the request")
