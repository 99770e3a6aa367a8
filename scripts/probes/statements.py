"""How many statements, and which text ran once for each row."""

import re
from collections.abc import Callable

from .core.run import Run
from .core.trace import Read
from .core.verdict import CANNOT_TELL, FOUND, OK, Verdict

VALUES = re.compile(r"'[^']*'|\b\d+\b")
CATALOGUE = re.compile(r"\b(sqlite_master|pg_catalog|information_schema)\b|^\s*PRAGMA\b", re.I)
MANY = 3  # times one text from one line
APART = "between the parts of a stream, or in tasks of their own"


async def look(run: Run) -> list[Verdict]:
    """SELECTs of one text from one line, repeated with other values."""
    trace = run.trace
    if not trace.statements:
        why = "it sends no statement through SQLAlchemy or asyncpg"
        return [Verdict("statements", CANNOT_TELL, why)]
    reads = [read for read in trace.reads if not CATALOGUE.search(read.sql)]
    most = _most(reads, lambda read: (read.task, read.part))
    says = f"{trace.statements} sent, rows in the longest result: {trace.rows}"
    if len(most) >= MANY:
        different = len({(read.sql, read.parameters) for read in most})
        how = f"with {different} different values" if different > 1 else "with the same values"
        evidence = [f"{len(most)} times {how} at {most[0].place}", _text(most[0])[:150]]
        trap = "sqlalchemy/relationships#forbid-implicit-loads"
        return [Verdict("statements", FOUND, says, evidence, trap)]
    apart = _most(reads, lambda _: ())
    if len(apart) >= MANY:
        how = f"one runs {len(apart)} times {APART}, at {apart[0].place}"
        why = f"{says}; {how}: pages and polls do, and so does a SELECT for each row"
        return [Verdict("statements", CANNOT_TELL, why)]
    if trace.rows < MANY:
        what = "make three rows with children in --setup, and ask for them"
        return [Verdict("statements", CANNOT_TELL, f"{says}; {what}")]
    return [Verdict("statements", OK, f"{says}, no SELECT more than {len(most)} times")]


def _most(reads: list[Read], apart: Callable[[Read], tuple[int, ...]]) -> list[Read]:
    """The SELECTs of the commonest text and line, of those that nothing sets apart."""
    same: dict[tuple[object, ...], list[Read]] = {}
    for read in reads:
        same.setdefault((_text(read), read.place, apart(read)), []).append(read)
    return max(same.values(), key=len, default=[])


def _text(read: Read) -> str:
    return VALUES.sub("?", " ".join(read.sql.split()))
