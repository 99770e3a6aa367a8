#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""How large should each process's database pool be, and does the whole fleet fit the server?

Need: Little's law, busy connections = checkouts per second x seconds held, spread over the
processes, plus two standard deviations of headroom (busy + 2 * sqrt(busy)), rounded up. Budget:
what the server allows, less what is reserved, shared by all processes that hold connections at the
peak of a deploy. The pool gets the smaller of the two.

Exit status: 0 it fits, 1 it does not (the output says what to change), 2 misuse.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

Number = TypeVar("Number", int, float)
MOST = 1_000_000_000  # of anything asked about; beyond it is a slip of the keyboard


@dataclass(frozen=True)
class Fleet:
    """What is asked about: rate in checkouts per second over all processes, hold in seconds."""

    rate: float
    hold: float
    replicas: int
    workers: int
    surge: int
    draining: int
    max_connections: int
    reserved: int

    @property
    def processes(self) -> int:
        """Processes that share the load in normal operation."""
        return self.replicas * self.workers

    @property
    def peak_processes(self) -> int:
        """Processes that hold connections while a deploy replaces them."""
        return (self.replicas + self.surge + self.draining) * self.workers


@dataclass(frozen=True)
class Budget:
    """The answer, in connections; `complaints` is empty when everything fits.

    `pool_size` is None when not one connection a process fits: SQLAlchemy takes 0 for no limit.
    """

    busy: float
    need: int
    budget: int
    pool_size: int | None
    fleet: int
    limit: int
    complaints: tuple[str, ...]


def plan(fleet: Fleet, pool_size: int | None = None, max_overflow: int = 0) -> Budget:
    """Size the pool of one process; with `pool_size`, judge that setting instead."""
    limit = fleet.max_connections - fleet.reserved
    busy = fleet.rate * fleet.hold / fleet.processes
    need = max(1, math.ceil(busy + 2 * math.sqrt(busy)))
    budget = limit // fleet.peak_processes
    size = (min(need, budget) or None) if pool_size is None else pool_size
    total = ((size or 1) + max_overflow) * fleet.peak_processes
    complaints = []
    if budget < 1:
        complaints.append(
            f"{fleet.peak_processes} processes at the peak of a deploy share {limit} connections:"
            " run fewer replicas or workers, or put PgBouncer in front; no pool_size fits"
        )
    elif need > budget:
        complaints.append(
            f"{need} connections a process are needed, the server allows {budget}:"
            " hold them for less time, or put PgBouncer in front; a larger pool_size cannot help"
        )
    if pool_size is not None and total > limit and budget > 0:
        complaints.append(
            f"at the peak of a deploy the fleet may open {total} connections, the limit is {limit}:"
            f" pool_size + max_overflow of at most {budget}"
        )
    if pool_size is not None and pool_size + max_overflow < need:
        complaints.append(
            f"pool_size + max_overflow of {pool_size + max_overflow} is below the {need} needed:"
            " requests will queue until pool_timeout"
        )
    return Budget(round(busy, 3), need, budget, size, total, limit, tuple(complaints))


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, print the plan, return the exit status."""
    arguments = _parser().parse_args(argv)
    # Kubernetes' defaults: 25 % for maxSurge, rounded up, and for maxUnavailable, rounded down.
    quarter = arguments.replicas / 4
    surge = math.ceil(quarter) if arguments.surge is None else arguments.surge
    draining = math.floor(quarter) if arguments.draining is None else arguments.draining
    fleet = Fleet(
        rate=arguments.rate,
        hold=arguments.hold_ms / 1000,
        replicas=arguments.replicas,
        workers=arguments.workers,
        surge=surge,
        draining=draining,
        max_connections=arguments.max_connections,
        reserved=arguments.reserved,
    )
    if fleet.reserved >= fleet.max_connections:
        _parser().error("--reserved leaves nothing of --max-connections")
    if arguments.pool_size is None and arguments.max_overflow:
        _parser().error("--max-overflow judges a setting: give --pool-size too")
    found = plan(fleet, arguments.pool_size, arguments.max_overflow)
    if arguments.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        print(f"busy connections a process (rate x hold): {found.busy:g}")
        print(f"needed a process (busy + 2 sqrt busy):    {found.need}")
        print(f"allowed a process at deploy peak:         {found.budget}")
        print(f"pool_size:                                {found.pool_size or 'none fits'}")
        print(f"fleet at deploy peak:                     {found.fleet} of {found.limit}")
    for complaint in found.complaints:
        print(complaint, file=sys.stderr)
    return 1 if found.complaints else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Size a database pool from rate and hold time, within the server's limit.",
        epilog="Exit status: 0 it fits, 1 it does not, 2 misuse.",
    )
    add = parser.add_argument
    add("--rate", type=_positive, required=True, help="checkouts per second at peak, all processes")
    add(
        "--hold-ms",
        type=_positive,
        required=True,
        help="mean time from leaving the pool's queue to checkin, in ms, with the ping in it",
    )
    add("--replicas", type=_count, required=True, help="pods or machines in normal operation")
    add("--workers", type=_count, default=1, help="processes in each replica (default 1)")
    add(
        "--surge",
        type=_whole,
        help="extra replicas in a deploy (default a quarter, rounded up, as Kubernetes' maxSurge)",
    )
    add(
        "--draining",
        type=_whole,
        help="old replicas that still end their requests while new ones run; Kubernetes does not"
        " count them (default a quarter, rounded down: its maxUnavailable; at worst all)",
    )
    add("--max-connections", type=_count, required=True, help="PostgreSQL's max_connections")
    add(
        "--reserved",
        type=_whole,
        default=10,
        help="kept for superusers, migrations, people, monitoring and for the pools of all other"
        " services on the server (default 10)",
    )
    add("--pool-size", type=_count, help="judge this setting instead of recommending one")
    add("--max-overflow", type=_whole, default=0, help="with --pool-size (default 0)")
    add("--json", action="store_true", help="print the plan as JSON")
    return parser


def _positive(text: str) -> float:
    return _within(float, text, sys.float_info.min, "a number above 0")


def _count(text: str) -> int:
    return _within(int, text, 1, "a whole number of 1 or more")


def _whole(text: str) -> int:
    return _within(int, text, 0, "a whole number of 0 or more")


def _within(kind: Callable[[str], Number], text: str, least: float, wanted: str) -> Number:
    try:
        number = kind(text)
    except ValueError:
        number = kind("-1")
    if not least <= number <= MOST:
        raise argparse.ArgumentTypeError(f"{text[:40]} is not {wanted}, at most {MOST}")
    return number


if __name__ == "__main__":
    sys.exit(main())
