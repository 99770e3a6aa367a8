"""`python -m benchmarks`: measure and report; exit 2 when a variant fails or answers otherwise."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

import aiohttp

from benchmarks.report import data, picture, text
from benchmarks.run import CASES, measure

NAMES = f"{', '.join(CASES)}; all of them without a name"


def count(text: str) -> int:
    """A number above zero. Raises ValueError, of which argparse makes a message."""
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], metavar="CASE", help=NAMES)
    parser.add_argument("--rounds", type=count, default=40, help="loads of each variant, or 40")
    parser.add_argument("--requests", type=count, default=60, help="requests of a load, or 60")
    parser.add_argument("--json", action="store_true", help="print JSON, with every sample")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw a picture too")
    given = parser.parse_args(argv)
    try:
        results = asyncio.run(measure(given.rounds, given.requests, given.cases or list(CASES)))
    except (ValueError, aiohttp.ClientResponseError) as error:
        print(error, file=sys.stderr)
        return 2
    if given.svg:
        given.svg.write_text(picture(results), encoding="utf-8")
    print(json.dumps(data(results), indent=1) if given.json else text(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
