"""Measure by a heartbeat how long an event loop was kept from running anything else."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.observers.shipped import shipped

stalls = shipped("core.loop").stalls


@dataclass
class Lag:
    """What was measured of a loop so far."""

    stall: Any

    @property
    def longest(self) -> float:
        """The seconds by which its latest beat came too late."""
        return float(self.stall.seconds)

    def advances(self, beats: int = 2, limit: float = 1) -> bool:
        """Block the calling thread until the loop has beaten again; False after `limit` seconds.

        Called by code that blocks: True when the loop goes on meanwhile.
        """
        wanted, end = self.stall.beats + beats, time.monotonic() + limit
        while self.stall.beats < wanted and time.monotonic() < end:
            time.sleep(0.002)
        return bool(self.stall.beats >= wanted)


@contextmanager
def loop_lag(interval: float = 0.005) -> Iterator[Lag]:
    """Watch the running loop while the block runs, by a beat every `interval` seconds.

    A stall still going on when the block ends counts too. One interval is the resolution: a
    shorter stall may pass unseen.
    """
    with stalls(interval) as stall:
        yield Lag(stall)
