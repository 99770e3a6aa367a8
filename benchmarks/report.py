"""The results as text, as JSON, and as a picture."""

import os
import statistics
import sys
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import drawsvg

from benchmarks.figures import Figure
from benchmarks.run import CASES, Result

PACKAGES = ("asyncpg", "fastapi", "h11", "sqlalchemy", "starlette", "uvicorn")
TITLE = "CPU of the server process a request, in units of a bare Starlette + asyncpg handler"
WIDTH, HEIGHT, BEGIN = 900, 22, 290  # pixels: the picture, a row, where bars begin
UNIT, CUT = 90, 6  # pixels for what the bare handler costs; so many units are drawn of a longer bar


def machine() -> str:
    """Where this was run, as far as it matters."""
    python = ".".join(map(str, sys.version_info[:3]))
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Python {python}, {packages}"


def text(results: list[Result]) -> str:
    """A table a case, then what may be concluded from it."""
    lines = [
        f"{TITLE}:",
        "the median of all rounds (bounds that hold in 95 of 100 runs).",
        machine(),
    ]
    for result in results:
        lines += ["", f"{CASES[result.case]:40}{'us':>6}  {'x':24}round trips"]
        for name, cost in result.costs().items():
            each = result.variants[name]
            shown = str(cost or "too few rounds")
            lines.append(
                f"  {name:38}{statistics.median(each.samples):6.0f}  {shown:24}{each.trips:g}"
            )
        lines += [f"  {each}." for each in result.differences()]
    return "\n".join(lines)


def data(results: list[Result]) -> dict[str, Any]:
    """The same for programs, with every sample, in microseconds."""
    cases = [
        asdict(result)
        | {"costs": {name: cost and asdict(cost) for name, cost in result.costs().items()}}
        | {"differences": [asdict(each) for each in result.differences()]}
        for result in results
    ]
    return {"machine": machine(), "cases": cases}


def picture(results: list[Result]) -> str:
    """A bar for each variant with its bounds, as SVG; none for too few rounds."""
    rows: list[tuple[str, Figure | None]] = [(f"{TITLE}; a bar ends at {CUT}", None)]
    for result in results:
        rows += [("", None), (CASES[result.case], None), *result.costs().items()]
    drawing = drawsvg.Drawing(WIDTH, HEIGHT * (len(rows) + 1), font_family="sans-serif")
    drawing.append(drawsvg.Rectangle(0, 0, WIDTH, HEIGHT * (len(rows) + 1), fill="white"))
    for row, (label, cost) in enumerate(rows):
        top, base = row * HEIGHT + 8, row * HEIGHT + 20
        drawing.append(drawsvg.Text(label, 13, 24 if cost else 10, base))
        if cost:
            ends = (cost.low, cost.median, cost.high)
            low, mid, high = (round(BEGIN + UNIT * min(end, CUT), 1) for end in ends)
            colour = "#c05621" if label == "orders" else "#336791"
            drawing.append(drawsvg.Rectangle(BEGIN, top, mid - BEGIN, HEIGHT - 6, fill=colour))
            drawing.append(drawsvg.Line(low, top + 8, high, top + 8, stroke="black"))
            drawing.append(drawsvg.Text(f"{cost.median:.1f}", 12, high + 6, base))
    return str(drawing.as_svg())
