"""What a request costs, as tables of benchmarks/costs.json with a bar in each row."""

import json
from pathlib import Path
from typing import Any

CASES = {
    "one": "Read one order with its three lines",
    "page": "Read a page of twenty orders, each with its three lines",
    "post": "Place an order with three lines",
}
WIDE = 6  # times the bare handler, at which a bar ends
HEAD = ["| Variant | x | Bounds | Round trips |", "| --- | --- | --- | --: |"]


def table(root: Path) -> str:
    """A table a case in Markdown, and the machine it was run on; empty while there is none."""
    path = root / "benchmarks" / "costs.json"
    if not path.exists():
        return ""
    run = json.loads(path.read_text(encoding="utf-8"))
    parts = []
    for case in run["cases"]:
        costs = sorted(case["costs"].items(), key=lambda each: each[1]["median"])
        rows = [_row(name, cost, case["variants"][name]) for name, cost in costs]
        lines = ['<div class="costs" markdown="1">', "", *HEAD, *rows, "", "</div>"]
        parts += [f"## {CASES[case['case']]}", "\n".join(lines)]
    return "\n\n".join([*parts, f"Run on {run['machine']}. A bar with a gap ends at {WIDE}."])


def _row(name: str, cost: dict[str, float], measured: dict[str, Any]) -> str:
    ours = name in ("bare", "orders")
    share = min(cost["median"] / WIDE, 1)
    kind = f"cost{' ours' if ours else ''}{' cut' if share == 1 else ''}"
    bar = f'<span class="{kind}" style="--share: {share:.3f}"></span>'
    shown = f"**{name}**" if ours else name
    bounds = f"{cost['low']:.2f} to {cost['high']:.2f}"
    return f"| {shown} | {bar} {cost['median']:.2f} | {bounds} | {measured['trips']:g} |"
