"""From samples to what may be said: medians, how far they may be off, ratios, differences."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A median, and the bounds between which it lies in 95 of 100 runs."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Difference:
    """What one variant costs more than another, in units of the bare handler."""

    dearer: str
    cheaper: str
    figure: Figure | None

    @property
    def told_apart(self) -> bool:
        """Whether the difference is larger than its spread."""
        found = self.figure
        return found is not None and abs(found.median) > found.high - found.low

    def __str__(self) -> str:
        if not self.told_apart:
            return f"{self.dearer} and {self.cheaper}: no conclusion, the spread is larger"
        return f"{self.dearer} against {self.cheaper}: {self.figure}"


def figure(samples: Sequence[float]) -> Figure | None:
    """The median of samples, and the ranks that enclose it; None for fewer than six samples."""
    count, outside, left_out = len(samples), 0.0, 0
    while (outside := outside + math.comb(count, left_out) / 2**count) <= 0.025:
        left_out += 1
    if not left_out:
        return None
    ordered = sorted(samples)
    return Figure(statistics.median(ordered), ordered[left_out - 1], ordered[-left_out])


def ratios(samples: Sequence[float], base: Sequence[float]) -> list[float]:
    """Each sample by the base's sample of the same round, which had the same weather."""
    return [sample / under for sample, under in zip(samples, base, strict=True)]


def difference(dearer: str, cheaper: str, samples: dict[str, list[float]]) -> Difference:
    """Compare two variants round by round, in units of the bare one."""
    high, low = (ratios(samples[name], samples["bare"]) for name in (dearer, cheaper))
    return Difference(dearer, cheaper, figure([a - b for a, b in zip(high, low, strict=True)]))
