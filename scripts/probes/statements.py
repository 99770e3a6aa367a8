"""How many statements, and which text ran once for each row."""

import re

from .core.run import Run
from .core.trace import Read
from .core.verdict import CANNOT_TELL, FOUND, OK, Verdict

VALUES = re.compile(r"'[^']*'|\b\d+\b")
MANY = 3  # times one text from one line


async def look(run: Run) -> list[Verdict]:
    """SELECTs of one text from one line, repeated with other values."""
    trace = run.trace
    if not trace.statements:
        return [Verdict("statements", CANNOT_TELL, "it sends no statement through SQLAlchemy")]
    same: dict[tuple[str, str], list[Read]] = {}
    for read in trace.reads:
        text = VALUES.sub("?", " ".join(read.sql.split()))
        same.setdefault((text, read.place), []).append(read)
    (text, place), most = max(same.items(), key=lambda item: len(item[1]), default=(("", ""), []))
    says = f"{trace.statements} statements, {trace.rows} rows in the longest result"
    if len(most) >= MANY:
        different = len({(read.sql, read.parameters) for read in most})
        how = f"with {different} different values" if different > 1 else "with the same values"
        evidence = [f"{len(most)} times {how} at {place}", text[:150]]
        trap = "sqlalchemy/relationships#forbid-implicit-loads"
        return [Verdict("statements", FOUND, says, evidence, trap)]
    if trace.rows < MANY:
        what = "make three rows with children in --setup, and ask for them"
        return [Verdict("statements", CANNOT_TELL, f"{says}: {what}")]
    return [Verdict("statements", OK, f"{says}, no SELECT more than {len(most)} times")]
