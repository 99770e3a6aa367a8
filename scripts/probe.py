#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Which failures does this application have when its requests run?

Loads your ASGI application, runs its lifespan, sends your requests in this process, and watches
SQLAlchemy, the tasks and the event loop meanwhile; nothing in your code has to change. Requests
are repeated, cancelled and made to fail: give a database that may be spoilt. Run it with the
Python that has the application's packages:

    python probe.py app.main:app --request 'POST /orders {"reference": "{{uuid}}"}' \\
        --header 'Authorization: Bearer ...'

A request is METHOD PATH [BODY]; the body is JSON or a form (a=1&b=2), the method WS a WebSocket.
{{uuid}} and {{n}} differ each time, {{name}} is what the function of --setup returned for it.
Without a request the GET routes that take no parameters are sent. TCP connections of this process
to hosts other than this machine are refused, but for those of --host; a subprocess's are not.

Exit status: 0 nothing found, 1 something was, 2 misuse, or nothing could be told.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the skill's folder stays as it was installed
FINE, FOUND, MISUSE = 0, 1, 2
IN_PROCESS = (
    "commit", "checkouts", "loop", "errors", "health", "dials", "cancel", "tasks", "statements",
    "inputs", "restart",
)  # fmt: skip
SERVING = ("stop",)  # start servers, so only by name


def _package() -> Any:
    """Our own modules under a name that no application has: its `probes` stays its own."""
    from importlib.util import module_from_spec, spec_from_file_location

    name, folder = "_python_backend_probes", Path(__file__).resolve().parent / "probes"
    if name not in sys.modules:
        where = [str(folder)]
        spec = spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=where
        )
        assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - it is a file
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return importlib.import_module(f"{name}.core.command")


def main(argv: Sequence[str] | None = None) -> int:
    """Probe what the arguments name; return the exit status."""
    options = _parser().parse_args(argv)
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [each for each in sys.path if each != here]  # nor do we hide its `reports`
    session = _package()
    status: int = session.main(options, IN_PROCESS)
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _number(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")


def _parser() -> argparse.ArgumentParser:
    description, _, epilog = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("app", metavar="MODULE:APP", help="as for uvicorn")
    add("--factory", action="store_true", help="APP is a function that makes the application")
    add("--app-dir", type=Path, default=Path(), metavar="DIR", help="where MODULE is (.)")
    add("--env-file", type=Path, metavar="FILE", help="variables to set before MODULE is imported")
    add("--request", action="append", default=[], metavar="'METHOD PATH [BODY]'")
    add("--header", action="append", default=[], metavar="'Name: value'", help="on each request")
    add("--setup", metavar="MODULE:FUNCTION",
        help="called with (app, state) after startup, may be async; returns values by name, and"
        " headers under 'headers'")  # fmt: skip
    add("--probe", action="append", choices=[*IN_PROCESS, *SERVING], metavar="NAME",
        help=f"one of {', '.join([*IN_PROCESS, *SERVING])}; without it all but stop")  # fmt: skip
    add("--ready", metavar="PATH", help="for health and stop: must fail with the database")
    add("--live", metavar="PATH", help="for health: must not")
    add("--serve", metavar="COMMAND", help="for stop: how the server starts, with {port}")
    add("--stream", metavar="PATH", help="for stop: a stream to keep open")
    add("--socket", metavar="PATH", help="for stop: a WebSocket to keep open, if no request is WS")
    add("--patience", type=_seconds, default=15.0, metavar="SECONDS",
        help="for stop: until the server has ended after its last request (15)")  # fmt: skip
    add("--host", action="append", default=[], metavar="NAME", help="a host that may be spoken to")
    add("--allow-remote", action="store_true", help="any database, wherever it is")
    add(
        "--limit",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="for one probe of a request (60)",
    )
    add(
        "--points",
        type=_number,
        default=40,
        metavar="N",
        help="for cancel: awaits to try, at most (40)",
    )
    add("--json", action="store_true", help="print the verdicts as JSON")
    add("--verbose", action="store_true", help="show what the application prints")
    return parser


if __name__ == "__main__":
    try:
        code = main()
    except KeyboardInterrupt:
        code = MISUSE
    except OSError as error:  # what was found cannot be written: a status of 1 would say something
        print(f"probe.py: {error}", file=sys.stderr)
        code = MISUSE
    os._exit(code)  # threads and tasks of the application must not hold us up
