"""The results as text, as JSON, and as a picture."""

import os
import statistics
import sys
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import drawsvg

from benchmarks.run import CASES, Result

PACKAGES = ("asyncpg", "fastapi", "h11", "sqlalchemy", "starlette", "uvicorn")
TITLE = "CPU of the server process a request, in units of a bare Starlette + asyncpg handler"
WIDTH, LABELS, HEIGHT = 900, 290, 22  # pixels; LABELS is where the bars begin


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
    """A bar for each variant, with its bounds, as SVG; none for too few rounds."""
    bars = [
        (result.case, name, cost)
        for result in results
        for name, cost in result.costs().items()
        if cost
    ]
    scale = (WIDTH - LABELS - 50) / max((cost.high for *_, cost in bars), default=1)
    drawing = drawsvg.Drawing(WIDTH, HEIGHT * (len(bars) + 2), font_family="sans-serif")
    drawing.append(drawsvg.Rectangle(0, 0, "100%", "100%", fill="white"))
    drawing.append(drawsvg.Text(TITLE, 14, 10, HEIGHT))
    for row, (case, name, cost) in enumerate(bars, 2):
        top, middle = row * HEIGHT - 6, row * HEIGHT + HEIGHT / 2 - 6
        low, mid, high = (LABELS + scale * x for x in (cost.low, cost.median, cost.high))
        colour = "#c05621" if name == "orders" else "#336791"
        drawing.append(drawsvg.Text(f"{case}: {name}", 13, 10, middle + 4))
        drawing.append(drawsvg.Rectangle(LABELS, top, mid - LABELS, HEIGHT - 6, fill=colour))
        drawing.append(drawsvg.Line(low, middle, high, middle, stroke="black"))
        drawing.append(drawsvg.Text(f"{cost.median:.1f}", 12, high + 6, middle + 4))
    return str(drawing.as_svg())
