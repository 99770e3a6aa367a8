"""Run the checks over the files of a project, on every core when there are many files."""

import ast
import multiprocessing
import os
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from project.files import Unread, no_collector
from project.module import Module
from project.project import SPEAKS, Fact, Project, facts

from checks import CHECKS, Check, Found, Report, load
from checks.ignores import apply

MANY = 400  # files, from which on further processes are worth their start


@dataclass
class Result:
    """All that was found in the files asked for, and the files that could not be read."""

    found: list[Found]
    unread: list[Unread]


def review(wanted: Iterable[str], files: dict[str, Path], cores: int | None = None) -> Result:
    """Check the wanted files. `files` is the project they belong to, by the names to print.

    `cores` is the number of processes to use at most; by default one for each core.
    """
    load()
    wanted = list(wanted)
    cores = min(cores or os.cpu_count() or 1, 8) if len(files) >= MANY else 1
    if cores == 1:
        with no_collector():
            project = Project(files)
            project.facts.add(_facts(project, files))
            results = [_checked(project, wanted)]
    else:
        results = _in_processes(wanted, files, cores)
    return Result(
        sorted({each for result in results for each in result.found}),
        sorted({each for result in results for each in result.unread}),
    )


def _in_processes(wanted: list[str], files: dict[str, Path], cores: int) -> list[Result]:
    """Each process collects facts of its share, hears those of all, and checks its share."""
    by_size = sorted(files, key=lambda name: -_size(files[name]))
    shares = [by_size[start::cores] for start in range(cores)]
    chosen = set(wanted)
    ends: list[Connection] = []
    workers = []
    for share in shares:
        here, there = multiprocessing.Pipe()
        mine = [name for name in share if name in chosen]
        worker = multiprocessing.Process(target=_worker, args=(there, files, share, mine))
        worker.start()
        there.close()
        ends.append(here)
        workers.append(worker)
    try:
        every = [fact for end in ends for fact in end.recv()]
        for end in ends:
            end.send(every)
        return [end.recv() for end in ends]
    finally:
        for end, worker in zip(ends, workers, strict=True):
            end.close()
            worker.join()


def _worker(end: Connection, files: dict[str, Path], share: list[str], mine: list[str]) -> None:
    with no_collector():
        load()
        project = Project(files)
        end.send(_facts(project, share))
        project.facts.add(end.recv())
        end.send(_checked(project, mine))
        end.close()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _facts(project: Project, names: Iterable[str]) -> list[Fact]:
    found: list[Fact] = []
    for name in names:
        try:
            source = project.files[name].read_bytes()
        except OSError:
            continue  # said when the file is checked
        module = project.module(name, source) if SPEAKS.search(source) else None
        if module is not None:
            found += facts(module)
    return sorted(set(found))


def _checked(project: Project, names: list[str]) -> Result:
    found: list[Found] = []
    unread: list[Unread] = []
    for name in names:
        module = project.module(name)
        if module is None:
            unread.append(project.unread[name])
            continue
        checks = [each for each in CHECKS if each.applies(module)]
        if not checks and b"python-backend:" not in module.source:
            project.forget(name)
            continue
        raw: list[Found] = []
        for each in checks:
            try:
                raw += [_found(module, each, report) for report in each.function(module)]
            except Exception as error:  # one check that fails must not cost the others
                text = f"{each.trap} could not be looked for: {type(error).__name__}: {error}"
                unread.append(Unread(name, 1, text))
        found += apply(module, raw, {each.trap for each in CHECKS})
    return Result(found, unread)


def _found(module: Module, check: Check, report: Report) -> Found:
    node = report.node
    end = node.end_lineno if isinstance(node, ast.expr) else node.lineno
    place = (module.path, node.lineno, node.col_offset + 1)
    return Found(*place, check.trap, report.message, report.instead, report.hint, end)
