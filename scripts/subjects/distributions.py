"""Of what kind of program a module is a part: a script, a migration, a server."""

import ast
import re
from pathlib import Path, PurePosixPath

from project.module import Module

SCRIPT_FOLDERS = {
    *("scripts", "script", "bin", "cli", "cmd", "commands", "commandline", "tools", "dev"),
    *("examples", "example", "docs", "docs_src", "cookbook", "cookbooks", "notebooks", "samples"),
    *("benchmarks", "benchmark", "bench", "perf", "migrations", "alembic", "versions", "hack"),
    *("management", "maintenance", "evals", "evaluation", "debug", "debugging", "ci", "install"),
    *("benches", "demo", "demos", "playground", "seeds", "seeders", "loadtest", "load_tests"),
}
TEST_PART = re.compile(r"(?:^|[._-])(?:tests?|testing|pytest|conftest|testsuite|mocks?)(?:[._-]|$)")
SCRIPT_NAMES = re.compile(
    r"^(?:__main__|cli|manage|setup|noxfile|tasks?_cli|.*_cli|.*_script|seed.*)$"
)
TESTS = re.compile(rb"(?<![a-z])tests?(?![a-z])", re.IGNORECASE)
OPERATIONS = {"op", "context"}  # of alembic: what a revision and an env.py import
MARKERS = ("pyproject.toml", "setup.py", "requirements.txt")
SERVER = re.compile(rb"\b(?:FastAPI|APIRouter|Starlette|web\.Application|web\.RouteTableDef)\(")


def is_script(module: Module) -> bool:
    """Whether a module is run by hand or once: by its folder, its name, or what it does at its end.

    A module that starts a server at its end is no script.
    """
    if not hasattr(module, "script"):
        module.script = _is_script(module)
    return module.script


def _is_script(module: Module) -> bool:
    path = _inside(module)
    folders = [part.lower() for part in path.parts[:-1]]
    if SCRIPT_FOLDERS.intersection(folders) or any(TEST_PART.search(part) for part in folders):
        return True
    if (
        _uses_alembic(module)
        or SCRIPT_NAMES.match(path.stem)
        or TEST_PART.search(path.stem)
        or module.is_revision
    ):
        return True
    if _speaks_of_tests(module):
        return True
    if module.source.startswith(b"#!") or b"argparse" in module.source:
        return not _serves(module)
    return (
        b"__main__" in module.source
        and any(map(_is_main, module.tree.body))
        and not _serves(module)
    )


def _speaks_of_tests(module: Module) -> bool:
    """Whether a module speaks of tests throughout, as one does that makes what tests need."""
    said = len(TESTS.findall(module.source))
    return said >= 8 and said * 50 >= module.source.count(b"\n")


def _inside(module: Module) -> PurePosixPath:
    """The path below the project's top: what an absolute path says above it means nothing."""
    path = PurePosixPath(module.path)
    if not path.is_absolute():
        return path
    marks = (*MARKERS, ".git")
    tops = [each for each in path.parents if any(Path(each, mark).exists() for mark in marks)]
    return path.relative_to(tops[-1] if tops else path.parent)


def _uses_alembic(module: Module) -> bool:
    """Whether it is part of a migration: what runs once, on connections of its own."""
    if b"run_migrations" in module.source:
        return True
    return any(
        each.module == "alembic" and not {name.name for name in each.names}.isdisjoint(OPERATIONS)
        for each in module.all(ast.ImportFrom)
    )


def _is_main(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "__main__" in ast.unparse(statement.test)


def _serves(module: Module) -> bool:
    return (
        b"uvicorn" in module.source or b"APIRouter" in module.source or b"FastAPI(" in module.source
    )


def serves(module: Module) -> bool:
    """Whether the distribution that a module belongs to holds a server's routes or application.

    A distribution is what lies below a pyproject.toml, setup.py or requirements.txt; without one
    it is the whole project.
    """
    project = module.project
    known = project.__dict__.setdefault("serving", {})
    root = _distribution(project.files[module.path], PurePosixPath(module.path))
    if root not in known:
        known[root] = any(
            SERVER.search(_source(path))
            for name, path in project.files.items()
            if PurePosixPath(name).is_relative_to(root) and not TEST_PART.search(name)
        )
    return known[root]


def _source(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _distribution(file: Path, name: PurePosixPath) -> PurePosixPath:
    for folder, below in zip(file.parents, name.parents, strict=False):
        if any((folder / marker).exists() for marker in MARKERS):
            return below
    return name.parents[-1]
