"""The command line of probe.py: from its options to what is printed."""

import asyncio
import importlib
import json
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from . import application
from .places import look_below, place, stack
from .requests import Request, RequestError, read_header, read_request
from .run import Limits
from .session import MisuseError, Plan, examine
from .verdict import CANNOT_TELL, FOUND, OK, Verdict

FINE, SOMETHING, MISUSE = 0, 1, 2
TALKS = 2.0  # seconds, from which on it is said what takes so long
GOODBYE = 5.0  # seconds for the application's shutdown after Ctrl-C
REQUEST = 10.0  # seconds until a request counts as stuck
STILL = 30.0  # seconds beyond its limit in which a probe must end


@dataclass(frozen=True)
class Asked:
    """What the options ask for, read."""

    options: Any
    folder: Path  # where the application's code is
    requests: list[Request]
    headers: dict[str, str]
    wanted: set[str]


def main(options: Any, in_process: tuple[str, ...]) -> int:
    """Probe what the options name; print it; return the exit status."""
    try:
        asked = _read(options, in_process)
    except (RequestError, MisuseError, application.ApplicationError) as error:
        print(f"probe.py: {error}", file=sys.stderr)
        return MISUSE
    with _output(verbose=options.verbose) as (report, messages):
        talker = Talker(messages, options.limit)
        try:
            verdicts = _in_process(asked, talker) if asked.wanted - {"stop"} else []
            if "stop" in asked.wanted:
                verdicts += _serving(asked, talker)
        except (RequestError, MisuseError, application.ApplicationError) as error:
            print(f"probe.py: {error}", file=messages)
            return MISUSE
        except KeyboardInterrupt:
            print("probe.py: interrupted", file=messages)
            return MISUSE
        except (Exception, SystemExit):  # its exit status would say that something was found
            print(f"probe.py: nothing can be told:\n{traceback.format_exc()}", file=messages)
            return MISUSE
        finally:
            talker.stop()
        if options.json:
            content = {"probes": [_object(each) for each in verdicts]}
            print(json.dumps(content, indent=2), file=report)
        else:
            print_text(verdicts, set(options.probe or ()), report)
    kinds = {each.verdict for each in verdicts}
    return SOMETHING if FOUND in kinds else FINE if OK in kinds else MISUSE


def _read(options: Any, in_process: tuple[str, ...]) -> Asked:
    """Raises what says why an option is wrong."""
    folder = options.app_dir.resolve()
    headers = dict(map(read_header, options.header))
    requests = [read_request(text, headers) for text in options.request]
    if not folder.is_dir():
        raise MisuseError(f"--app-dir {options.app_dir}: no such folder")
    if options.env_file is not None:
        application.read_env(options.env_file)
    return Asked(options, folder, requests, headers, set(options.probe or in_process))


def _in_process(asked: "Asked", talker: "Talker") -> list[Verdict]:
    options, folder = asked.options, asked.folder
    talker.begin("the application starts", application.STARTUP)
    ready, live = (
        Request("GET", path, "", dict(asked.headers)) if path else None
        for path in (options.ready, options.live)
    )
    limits = Limits(
        points=options.points, request=min(REQUEST, options.limit), cuts=options.limit * 2 / 3
    )

    async def run() -> list[Verdict]:
        # As uvicorn loads it, inside the loop: what is made at import belongs to that one.
        look_below(folder)
        app = application.load(options.app, factory=options.factory, folder=folder)
        setup = application.call(options.setup, folder) if options.setup else None
        plan = Plan(
            asked.requests,
            asked.wanted,
            limits,
            ready,
            live,
            setup,
            options.host,
            options.allow_remote,
            options.limit,
            folder,
            guess=asked.headers,
        )
        return await examine(app, plan, talker.begin)

    # Not asyncio.run(): at its end it waits for tasks that swallow their cancel. And asyncio's own
    # loop, as uvloop connects unseen.
    loop = asyncio.SelectorEventLoop()
    asyncio.set_event_loop(loop)
    main = loop.create_task(run())
    try:
        return loop.run_until_complete(main)
    except KeyboardInterrupt:
        main.cancel()  # what the application started is stopped by its own shutdown
        loop.run_until_complete(asyncio.wait({main}, timeout=GOODBYE))
        raise


def _serving(asked: "Asked", talker: "Talker") -> list[Verdict]:
    stop = importlib.import_module("...stop", __name__)
    verdicts: list[Verdict] = stop.look(
        asked.options, asked.folder, asked.requests, asked.headers, talker.begin
    )
    return verdicts


class Talker:
    """Says what takes long, and ends a probe in which the loop never comes back."""

    def __init__(self, messages: TextIO, limit: float) -> None:
        self.messages, self.limit = messages, limit
        self.begin("")
        self.main = threading.get_ident()
        self.ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def begin(self, what: str, limit: float | None = None) -> None:
        """Something begins, which is given up `limit` seconds after it should have ended."""
        self.what, self.since, self.said = what, time.monotonic(), False
        self.ends = (self.limit if limit is None else limit) + STILL

    def stop(self) -> None:
        self.ended.set()

    def _watch(self) -> None:
        while not self.ended.wait(0.2):
            took = time.monotonic() - self.since
            if took > TALKS and not self.said:
                self.said = True
                print(f"{self.what} ...", file=self.messages, flush=True)
            if took > self.ends:
                frame = sys._current_frames().get(self.main)
                where = place(stack(frame))
                text = f"{self.what} hangs in code that nothing can interrupt, at {where}"
                print(f"probe.py: {text}", file=self.messages, flush=True)
                os._exit(MISUSE)


@contextmanager
def _output(*, verbose: bool) -> Iterator[tuple[TextIO, TextIO]]:
    """Our own stdout and stderr, while what the application prints goes to a file and is lost."""
    report, messages = (os.fdopen(os.dup(number), "w", encoding="utf-8") for number in (1, 2))
    with report, messages, tempfile.TemporaryFile() as quiet:
        if not verbose:
            sys.stdout.flush()
            os.dup2(quiet.fileno(), 1)
            os.dup2(quiet.fileno(), 2)
        yield report, messages


def print_text(verdicts: list[Verdict], named: set[str], report: TextIO) -> None:
    """What was found in full, by request; what is fine, and what cannot be told, in a line each."""
    for label in dict.fromkeys(each.request for each in verdicts):
        mine = [each for each in verdicts if each.request == label]
        print(label or "the application", file=report)
        full = [each for each in mine if _in_full(each, named)]
        for each in full:
            print(f"  {each.verdict.upper()} {each.probe}: {each.says}", file=report)
            for line in each.evidence:
                print(f"      {line}", file=report)
            if each.trap:
                print(f"      -> {each.trap}", file=report)
        for verdict in (OK, CANNOT_TELL):
            rest = [f"{e.probe} ({e.says})" for e in mine if e.verdict == verdict and e not in full]
            if rest:
                print(f"  {verdict}: {'; '.join(rest)}", file=report)


def _in_full(verdict: Verdict, named: set[str]) -> bool:
    if verdict.verdict == CANNOT_TELL:
        return verdict.probe in named or verdict.probe in ("request", "network")
    return verdict.verdict == FOUND


def _object(verdict: Verdict) -> dict[str, Any]:
    content = asdict(verdict)
    return {"name": content.pop("probe"), **content}
