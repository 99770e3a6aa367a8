#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Which traps of the rules are in this code?

Reads Python files without importing or running them, and prints what it is sure of: the place,
what happens there, what to write on that line, and the trap's name. `--explain TRAP` prints what
the rules say of it. Names are followed through the imports of the whole project, so run it where
the project begins; tests are read only for what is about tests.

A finding that is right where it stands is ignored by a comment on its line, or alone above it:
    # python-backend: ignore[slug] why this is right here

Exit status: 0 nothing found, 1 something was, 2 misuse. Hints (--hints) and files that cannot be
read do not change it.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.dont_write_bytecode = True  # the skill's folder stays as it was installed
SCRIPTS = Path(__file__).resolve().parent
if str(SCRIPTS) not in sys.path:  # started by its console script, not by its path
    sys.path.insert(0, str(SCRIPTS))

import reports  # noqa: E402
from changes import ChangesError, changed  # noqa: E402
from checks import Found  # noqa: E402
from checks.run import Result, review  # noqa: E402
from explanation import TrapError, explanation  # noqa: E402
from project.files import PathError, project_folders, python_files, shown  # noqa: E402

FINE, FOUND, MISUSE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Review what the arguments name; return the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.explain:
            print(explanation(arguments.explain))
            return FINE
        result = _reviewed(arguments.paths or [Path()], arguments.diff)
    except (PathError, ChangesError, TrapError) as error:
        print(f"review.py: {error}", file=sys.stderr)
        return MISUSE
    findings = [each for each in result.found if not each.hint]
    hints = [each for each in result.found if each.hint]
    if arguments.json:
        print(reports.as_json(findings, hints, result.unread))
    elif arguments.sarif:
        print(reports.as_sarif(findings, hints if arguments.hints else []))
    else:
        reports.as_text(findings, hints, result.unread, show_hints=arguments.hints)
    return FOUND if findings else FINE


def _parser() -> argparse.ArgumentParser:
    description, _, epilog = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="default: .")
    parser.add_argument("--hints", action="store_true", help="also print places to look at")
    parser.add_argument(
        "--diff",
        nargs="?",
        const="HEAD",
        metavar="BASE",
        help="only lines that differ from this commit (HEAD), and files git does not know;"
        " put it after the paths",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="findings, hints and unread as JSON")
    form.add_argument("--sarif", action="store_true", help="findings as SARIF 2.1.0")
    form.add_argument("--explain", metavar="TRAP", help="print what the rules say of a trap")
    return parser


def _reviewed(paths: list[Path], base: str | None) -> Result:
    lines = changed(base, Path()) if base is not None else None
    wanted, folders = python_files(paths), project_folders(paths)
    same = [path.resolve() for path in paths] == [path.resolve() for path in folders]
    project = wanted if same else python_files(folders)
    if lines is not None:
        wanted = [path for path in wanted if path.resolve() in lines]
    files = {shown(path): path for path in [*wanted, *project]}
    result = review([shown(path) for path in wanted], files)
    if lines is not None:
        result.found = [each for each in result.found if _touched(each, files, lines)]
    return result


def _touched(found: Found, files: dict[str, Path], lines: dict[Path, list[range]]) -> bool:
    spans = lines.get(files[found.path].resolve(), [])
    return any(span.start <= found.end and found.line < span.stop for span in spans)


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader such as `head` may leave
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # to free the trees one by one would take as long as to read them
