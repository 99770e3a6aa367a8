"""What does scripts/review.py cost, beside flake8 with flake8-async on the same files?

    python -m benchmarks.review_speed [TREE] [--runs N]

Runs them in turn, after one run that does not count, and prints for each the median of its CPU
seconds with the least and the most, CPU seconds for 100,000 lines, and the ratio; then how long
review.py takes to start. flake8-async is also run alone, without flake8's own checks. Needs
flake8-async in the Python that runs this.

Exit status: 0 measured, 2 flake8-async is not installed or TREE is no folder with Python files.
"""

import argparse
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
REVIEW = [sys.executable, str(ROOT / "scripts" / "review.py")]
OURS = "review.py"
RUNS = 5


@dataclass(frozen=True)
class Measured:
    """Seconds of several runs of one tool."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def spread(self) -> str:
        return f"{min(self.seconds):.2f} to {max(self.seconds):.2f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the arguments name, print it, return the exit status."""
    description, _, epilog = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="review_speed",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("tree", nargs="?", type=Path, default=ROOT, help="default: this project")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"of each tool; default: {RUNS}")
    arguments = parser.parse_args(argv)
    if importlib.util.find_spec("flake8_async") is None:
        return _refuse("flake8-async is not installed here: pip install flake8 flake8-async")
    files = python_files(arguments.tree) if arguments.tree.is_dir() else []
    if not files:
        return _refuse(f"{arguments.tree}: no folder with Python files")
    lines = sum((arguments.tree / name).read_bytes().count(b"\n") for name in files)
    results = measure(commands(files), arguments.tree, max(arguments.runs, 1))
    report(results, len(files), lines)
    started = start_up(max(arguments.runs, 1))
    print(f"start-up of {OURS}: {started.median:.2f} s ({started.spread})")
    return 0


def _refuse(why: str) -> int:
    print(f"review_speed: {why}", file=sys.stderr)
    return 2


def python_files(tree: Path) -> list[str]:
    """The files that review.py reads below a folder, relative to it: all tools get the same."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from project.files import python_files

    return [path.relative_to(tree).as_posix() for path in python_files([tree])]


def commands(files: list[str]) -> dict[str, list[str]]:
    """How each tool is run, in the tree."""
    listed = [f"./{name}" for name in files]
    return {
        OURS: [*REVIEW, "."],
        "flake8 with flake8-async": [
            *(sys.executable, "-m", "flake8", "--isolated", "--select=ASYNC", *listed)
        ],
        "flake8-async alone": [sys.executable, "-m", "flake8_async", *listed],
    }


def measure(tools: dict[str, list[str]], tree: Path, runs: int) -> list[Measured]:
    """CPU seconds of each tool, children included; the tools take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in tools}
    for turn in range(runs + 1):
        for name, command in tools.items():
            spent = cpu_seconds(command, tree)
            if turn:  # the first fills caches
                seconds[name].append(spent)
    return [Measured(name, tuple(each)) for name, each in seconds.items()]


def cpu_seconds(command: list[str], tree: Path) -> float:
    """CPU seconds, user and system, of a command and the processes it waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(command, tree)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def start_up(runs: int) -> Measured:
    """Seconds by the clock that review.py takes for a folder with one empty file."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "empty.py").touch()
        for _ in range(runs):
            began = time.perf_counter()
            run([*REVIEW, "."], Path(folder))
            seconds.append(time.perf_counter() - began)
    return Measured("start-up", tuple(seconds))


def run(command: list[str], tree: Path) -> None:
    """Run a tool to its end. Raises RuntimeError when it fails: 1 means that it found something."""
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        command, cwd=tree, env=environment, stdin=subprocess.DEVNULL, capture_output=True
    )
    if done.returncode not in (0, 1):
        said = done.stderr.decode(errors="replace")[-500:]
        raise RuntimeError(f"{command[1:4]} ended with {done.returncode}: {said}")


def report(results: list[Measured], files: int, lines: int) -> None:
    """Print a line for each tool, and how our own compares with each other one."""
    print(f"{files:,} files, {lines:,} lines of Python; CPU seconds, median of runs in turn")
    ours = next(each for each in results if each.name == OURS)
    for each in results:
        share = each.median / max(lines, 1) * 100_000
        print(f"{each.name:26}{each.median:8.2f} ({each.spread}), {share:.2f} for 100,000 lines")
    for each in results:
        if each is not ours:
            ratio = ours.median / each.median
            print(f"{OURS} takes {ratio:.2f} of the CPU seconds of {each.name}")


if __name__ == "__main__":
    sys.exit(main())
