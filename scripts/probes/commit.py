"""The COMMIT of the request fails: is the client told so?"""

from .core.client import Answer
from .core.run import Run, settled
from .core.trace import Trace
from .core.verdict import CANNOT_TELL, FOUND, OK, Verdict

BACKGROUND = "in a background task"
TRAPS = {
    "": "sqlalchemy/sessions#error-caught-in-the-block",
    BACKGROUND: "fastapi/lifespan#queue-the-job-with-its-row",
}
OVERTAKEN = "a middleware held the response already when its error came, and sent it all the same"
APART = "runs after the response, in a task of its own: its client cannot be told of a failure"
LATE = "fastapi/dependencies#one-session-alias"
CAUGHT = "sqlalchemy/sessions#catch-a-conflict-around-a-savepoint"
PROMISES = {"POST", "PUT", "PATCH", "DELETE"}


async def look(run: Run) -> list[Verdict]:
    """Refuse each COMMIT of a plain run in turn, and read what the client is told."""
    await settled(run.trace, (), run.limits.settle)  # what it started may commit yet
    if all(trace.undone for trace in run.traces) and run.request.method in PROMISES:
        return [_undone(run)]
    if not run.trace.commits:
        return _apart(run) or [Verdict("commit", CANNOT_TELL, "no transaction wrote anything")]
    if not run.answer.complete:
        why = "its client leaves before it ends, so nobody could be told of a failed COMMIT"
        return [Verdict("commit", CANNOT_TELL, why)]
    commits = list(run.trace.commits)
    return [
        *[await _refused(run, number, *commit) for number, commit in enumerate(commits, 1)],
        *_apart(run),
    ]


def _apart(run: Run) -> list[Verdict]:
    """What a task commits that the request started and does not wait for."""
    return [
        Verdict("commit", CANNOT_TELL, f"the COMMIT at {place} {APART}")
        for place in dict.fromkeys(place for trace in run.traces for place in trace.apart)
    ]


def _undone(run: Run) -> Verdict:
    says = f"what it wrote was rolled back, and the client was told {run.answer.told}"
    trace, error = run.trace, run.answer.error
    if not (trace.failed or error) and trace.meant.issuperset(trace.undone):
        where = ", ".join(dict.fromkeys(trace.undone))
        why = f"{says}: by rollback() itself, at {where}: right in a dry run, else a lost write"
        return Verdict("commit", CANNOT_TELL, why)
    evidence = [f"ROLLBACK at {place}" for place in trace.undone]
    if error is not None:
        evidence.append(f"the client had its answer when this was raised: {error!r}"[:300])
    if trace.failed:
        evidence.append("a statement failed before, and its error was caught")
    return Verdict("commit", FOUND, says, evidence, CAUGHT if trace.failed else LATE)


async def _refused(run: Run, number: int, place: str, late: str) -> Verdict:
    trace = Trace(fail_commit=number)
    answer = await run.again(trace)
    before = len(run.trace.commits)
    label = f"COMMIT {number} of {before}, at {place}"
    if len(trace.commits) < number:
        says = f"{label}, did not come again: answered {answer.told}"
        return Verdict("commit", CANNOT_TELL, says)
    if len(trace.commits) > before:
        return await _repeated(run, number, label, late)
    return _told(label, late, answer)


async def _repeated(run: Run, number: int, label: str, late: str) -> Verdict:
    """It was tried again: the client is told so once no COMMIT comes through."""
    answer = await run.again(Trace(fail_commit=number, fail_on=True))
    again = f"{label}, and each that repeats it"
    if answer.stuck:
        says = f"{again}, failed: it did not end in {run.limits.request:.0f} s"
        return Verdict("commit", CANNOT_TELL, says)
    return _told(again, late, answer)


def _told(label: str, late: str, answer: Answer) -> Verdict:
    if answer.told >= 400 or not answer.complete:
        told = answer.told if answer.complete or not answer.status else "by a broken answer"
        return Verdict("commit", OK, f"{label}, failed: the client was told {told}")
    says = f"{label}, failed: the client was told {answer.told}"
    if not late and answer.error is not None:
        return Verdict("commit", FOUND, says, [OVERTAKEN], LATE)
    how = f"it ran {late}" if late else "it ran before the response, and its error was swallowed"
    return Verdict("commit", FOUND, says, [how], TRAPS.get(late, LATE))
