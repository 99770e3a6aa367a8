"""Measure by a heartbeat how long an event loop was kept from running anything else."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Lag:
    """How often the loop has beaten, and the seconds by which its latest beat came too late."""

    beats: int = 0
    longest: float = 0.0

    def advances(self, beats: int = 2, limit: float = 1) -> bool:
        """Block the calling thread until the loop has beaten again; False after `limit` seconds.

        Called by code that blocks: True when the loop goes on meanwhile.
        """
        wanted, end = self.beats + beats, time.monotonic() + limit
        while self.beats < wanted and time.monotonic() < end:
            time.sleep(0.002)
        return self.beats >= wanted


@contextmanager
def loop_lag(interval: float = 0.005) -> Iterator[Lag]:
    """Watch the running loop while the block runs, by a beat every `interval` seconds.

    A stall still going on when the block ends counts too. One interval is the resolution: a
    shorter stall may pass unseen.
    """
    loop = asyncio.get_running_loop()
    lag = Lag()
    due = loop.time() + interval

    def measure() -> None:
        lag.longest = max(lag.longest, loop.time() - due)

    def beat() -> None:
        nonlocal due, timer
        measure()
        lag.beats += 1
        due = loop.time() + interval
        timer = loop.call_at(due, beat)

    timer = loop.call_at(due, beat)
    try:
        yield lag
    finally:
        timer.cancel()
        measure()
