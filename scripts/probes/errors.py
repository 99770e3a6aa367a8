"""Every statement and connect fails: what is the client told?"""

from .core.client import Answer
from .core.database import SECRET
from .core.routes import READY
from .core.run import Run
from .core.trace import Trace
from .core.verdict import CANNOT_TELL, FOUND, OK, Verdict

TELLING = (SECRET, "hunter2", "INSERT INTO", "SELECT ", "Traceback (most recent")
INPUTS = "fastapi/middleware#problem-details-without-inputs"
CORS = "fastapi/middleware#cors-around-everything"
READINESS = "fastapi/lifespan#readiness-that-answers"
SWALLOWED = "sqlalchemy/sessions#error-caught-in-the-block"
IDS = "fastapi/middleware#no-id-in-log-lines"


async def look(run: Run) -> list[Verdict]:
    """The body of the error, its status, its CORS headers and its request id."""
    trace = Trace(fail="error")
    answer = await run.again(trace)
    if not trace.statements and not trace.connects and not trace.holds:
        return [Verdict("errors", CANNOT_TELL, "it sends no statement that could fail")]
    if not trace.early and answer.complete and answer.told < 400:
        why = "it asks the database only after the response has begun: see commit"
        return [Verdict("errors", CANNOT_TELL, why)]
    if _as_before(run, answer):
        why = "every statement failed, and it is answered as before: from a cache, or from nothing"
        return [Verdict("errors", CANNOT_TELL, why)]
    found = [*_body(run, answer), *_headers(run.answer, answer)]
    if found:
        return found
    says = f"a statement that fails is answered {answer.told}, without its text"
    if "origin" not in run.request.headers:
        says += "; for its CORS headers give --header 'Origin: ...'"
    return [Verdict("errors", OK, says)]


def _as_before(run: Run, answer: Answer) -> bool:
    """Whether a read is answered without its database; readiness may not be."""
    reads = run.request.method in ("GET", "HEAD") and not READY.search(run.request.path)
    return reads and answer.complete and answer.told < 400 and answer.body == run.answer.body


def _body(run: Run, answer: Answer) -> list[Verdict]:
    told = [text for text in TELLING if text in answer.text and text not in run.answer.text]
    telling = told[0] if told else None
    if telling is not None:
        at = answer.text.index(telling)
        says = f"a statement that fails is answered {answer.told} with the error's text"
        shown = [answer.text[max(0, at - 60) : at + 90]]
        return [Verdict("errors", FOUND, says, shown, INPUTS)]
    if answer.told < 400 and answer.complete:
        says = f"every statement failed, and the client was told {answer.told}"
        trap = READINESS if READY.search(run.request.path) else SWALLOWED
        return [Verdict("errors", FOUND, says, [answer.text[:150]], trap)]
    return []


def _headers(plain: Answer, failed: Answer) -> list[Verdict]:
    """Headers that the answer of a plain run has and that of a failed one has not."""
    found = []
    for name, trap in (("access-control-allow-origin", CORS), ("x-request-id", IDS)):
        if plain.header(name) is not None and failed.header(name) is None:
            says = f"{name} is missing on the answer {failed.told} to a statement that fails"
            found.append(Verdict("errors", FOUND, says, [], trap))
    return found
