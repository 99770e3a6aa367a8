"""How long the event loop stood still, and what its thread did meanwhile."""

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .places import place, stack

BEAT = 0.005  # seconds between two beats, and between two looks at the loop's thread


@dataclass
class Stall:
    """The longest time in which the loop ran nothing else, in seconds, and the line of the code."""

    seconds: float = 0.0
    place: str = ""
    beats: int = 0  # of the loop, meanwhile


@contextmanager
def stalls(interval: float = BEAT) -> Iterator[Stall]:
    """Watch the running loop while the block runs. One interval is the resolution."""
    loop = asyncio.get_running_loop()
    thread = threading.get_ident()
    longest = Stall()
    samples: list[str] = []
    due = time.perf_counter() + interval
    ended = threading.Event()

    def beat() -> None:
        nonlocal due, timer
        late = time.perf_counter() - due
        longest.beats += 1
        if late > longest.seconds:
            longest.seconds = late
            longest.place = Counter(samples).most_common(1)[0][0] if samples else ""
        samples.clear()
        due = time.perf_counter() + interval
        timer = loop.call_later(interval, beat)

    def look() -> None:
        while not ended.wait(interval):
            if time.perf_counter() - due > 2 * interval:
                frame = sys._current_frames().get(thread)
                samples.append(place(stack(frame)))

    timer = loop.call_later(interval, beat)
    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield longest
    finally:
        beat()
        timer.cancel()
        ended.set()
        watcher.join()
