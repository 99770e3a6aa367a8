#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""How large should each process's database pool be, and does the whole fleet fit the server?

Need: Little's law, busy connections = checkouts per second x seconds held, spread over the
processes, plus two standard deviations of headroom (busy + 2 * sqrt(busy)), rounded up. Budget:
what the server allows, less what is reserved, shared by all processes that run at the peak of a
deploy. The pool gets the smaller of the two.

Exit status: 0 it fits, 1 it does not (the output says what to change), 2 misuse.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Fleet:
    """What is asked about: rate in checkouts per second over all processes, hold in seconds."""

    rate: float
    hold: float
    replicas: int
    workers: int
    surge: int
    max_connections: int
    reserved: int

    @property
    def processes(self) -> int:
        """Processes that share the load in normal operation."""
        return self.replicas * self.workers

    @property
    def peak_processes(self) -> int:
        """Processes that hold connections while a deploy replaces them."""
        return (self.replicas + self.surge) * self.workers


@dataclass(frozen=True)
class Budget:
    """The answer, in connections; `complaints` is empty when everything fits."""

    busy: float
    need: int
    budget: int
    pool_size: int
    fleet: int
    limit: int
    complaints: tuple[str, ...]


def plan(fleet: Fleet, pool_size: int | None = None, max_overflow: int = 0) -> Budget:
    """Size the pool of one process; with `pool_size`, judge that setting instead."""
    limit = fleet.max_connections - fleet.reserved
    busy = fleet.rate * fleet.hold / fleet.processes
    need = max(1, math.ceil(busy + 2 * math.sqrt(busy)))
    budget = limit // fleet.peak_processes
    size = max(0, min(need, budget)) if pool_size is None else pool_size
    total = (size + max_overflow) * fleet.peak_processes
    complaints = []
    if need > budget:
        complaints.append(
            f"{need} connections a process are needed, the server allows {max(budget, 0)}:"
            " hold them for less time, or put PgBouncer in front; a larger pool_size cannot help"
        )
    if pool_size is not None and total > limit:
        complaints.append(
            f"at the peak of a deploy the fleet may open {total} connections, the limit is {limit}:"
            f" pool_size + max_overflow of at most {max(budget, 0)}"
        )
    if pool_size is not None and pool_size + max_overflow < need:
        complaints.append(
            f"{pool_size + max_overflow} connections a process are fewer than the {need} needed:"
            " requests will queue until pool_timeout"
        )
    return Budget(round(busy, 3), need, budget, size, total, limit, tuple(complaints))


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, print the plan, return the exit status."""
    arguments = _parser().parse_args(argv)
    fleet = Fleet(
        rate=arguments.rate,
        hold=arguments.hold_ms / 1000,
        replicas=arguments.replicas,
        workers=arguments.workers,
        surge=arguments.surge,
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
        print(f"allowed a process at deploy peak:         {max(found.budget, 0)}")
        print(f"pool_size:                                {found.pool_size}")
        print(f"fleet at deploy peak:                     {found.fleet} of {found.limit}")
    for complaint in found.complaints:
        print(complaint, file=sys.stderr)
    return 1 if found.complaints else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pool_budget.py",
        description="Size a database pool from rate and hold time, within the server's limit.",
        epilog="Exit status: 0 it fits, 1 it does not, 2 misuse.",
    )
    add = parser.add_argument
    add("--rate", type=_positive, required=True, help="checkouts per second, all processes")
    add("--hold-ms", type=_positive, required=True, help="mean time a connection is held, in ms")
    add("--replicas", type=_count, required=True, help="pods or machines in normal operation")
    add("--workers", type=_count, default=1, help="processes in each replica (default 1)")
    add("--surge", type=_whole, default=1, help="extra replicas during a deploy (default 1)")
    add("--max-connections", type=_count, required=True, help="PostgreSQL's max_connections")
    add(
        "--reserved",
        type=_whole,
        default=10,
        help="kept for superusers, migrations, people and monitoring (default 10)",
    )
    add("--pool-size", type=_count, help="judge this setting instead of recommending one")
    add("--max-overflow", type=_whole, default=0, help="with --pool-size (default 0)")
    add("--json", action="store_true", help="print the plan as JSON")
    return parser


def _positive(text: str) -> float:
    number = float(text)
    if not (number > 0 and math.isfinite(number)):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _whole(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
