"""What a probe says."""

from dataclasses import dataclass, field

OK, FOUND, CANNOT_TELL = "ok", "found", "cannot-tell"


@dataclass
class Verdict:
    """One probe's word on one request: what it says, what it saw, the trap it is about."""

    probe: str
    verdict: str
    says: str
    evidence: list[str] = field(default_factory=list)
    trap: str = ""
    request: str = ""
