"""Type-check every block by one run of mypy --strict, cached by content."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from rulebook.load import module_name, padded, parses
from rulebook.model import Finding, Half

ARGUMENTS = ["--strict", "--output=json", "--no-error-summary", "--config-file", "pyproject.toml"]


def type_errors(halves: Iterable[Half], root: Path) -> list[Finding]:
    """Return mypy's errors in the blocks, at the lines of the pages they stand in.

    Blocks are padded with empty lines, so no line number needs translating. The verdict is kept
    under `root/.cache`, named by what was checked. Blocks that do not parse are left out: mypy
    would stop at the first. Raises RuntimeError when mypy cannot run.
    """
    halves = [half for half in halves if parses(half)]
    if not halves:
        return []
    sources = {f"{module_name(half).replace('.', '_')}.py": half for half in halves}
    described = repr([(name, padded(half)) for name, half in sources.items()])
    digest = hashlib.sha256(described.encode()).hexdigest()[:16]
    box = root / ".cache" / "typecheck"
    verdict = box / f"{digest}-{sys.version_info.minor}.json"
    if not verdict.exists():
        _write(verdict, json.dumps(_run_mypy(sources, box / digest, root)))
    return [
        Finding(sources[name].block.path, line, f"{message} [{code}]", "make mypy --strict pass")
        for name, line, message, code in json.loads(verdict.read_text(encoding="utf-8"))
    ]


def _run_mypy(
    sources: dict[str, Half], folder: Path, root: Path
) -> list[tuple[str, int, str, str]]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, half in sources.items():
        _write(folder / name, padded(half))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *ARGUMENTS, f"--cache-dir={root / '.cache' / 'mypy'}"]
        + [str(folder / name) for name in sources],
        capture_output=True,
        text=True,
        cwd=root,
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"mypy could not run: {done.stdout}{done.stderr}")
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        (Path(report["file"]).name, report["line"], report["message"], report["code"])
        for report in reports
        if report["severity"] == "error"
    ]


def _write(path: Path, text: str) -> None:
    """Write through a rename, so that a parallel run never reads half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{hashlib.sha256(text.encode()).hexdigest()[:8]}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
