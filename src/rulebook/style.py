"""Ask ruff about blocks: would it report or reformat them, and does it catch what rules say?"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rulebook.load import module_name, parses
from rulebook.model import Finding, Half, Page

ALWAYS = ["--isolated", "--no-cache", "--target-version=py311"]
# SQLAlchemy documents `__mapper_args__ = {...}`, which this code takes for a mistake.
IGNORED = "--ignore=RUF012"


def lint_style(pages: Iterable[Page]) -> Iterator[Finding]:
    """Yield blocks ruff would report or reformat, and lint codes that do not tell halves apart.

    Raises RuntimeError when ruff cannot run.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files: dict[Path, tuple[Page, Half]] = {}
        for page in pages:
            for half in filter(parses, page.halves):
                path = folder / f"{module_name(half).replace('.', '_')}.py"
                path.write_text(half.block.code, encoding="utf-8")
                files[path.resolve()] = page, half
        if files:
            yield from _reports(folder, files)
            yield from _codes(folder, files)
            yield from _formats(folder, files)


def _reports(folder: Path, files: dict[Path, tuple[Page, Half]]) -> Iterator[Finding]:
    for report in json.loads(_ruff(folder, "check", IGNORED, "--output-format=json")):
        page, half = files[Path(report["filename"]).resolve()]
        if half.verdict == "incorrect" and report["code"] == _named_code(page, half):
            continue
        line = half.block.line + report["location"]["row"]
        message = f"ruff: {report['message']} [{report['code']}]"
        yield Finding(half.block.path, line, message, "make ruff check pass")


def _formats(folder: Path, files: dict[Path, tuple[Page, Half]]) -> Iterator[Finding]:
    _ruff(folder, "format")
    for path, (_, half) in files.items():
        if path.read_text(encoding="utf-8") != half.block.code:
            hint = "use ruff format's layout, lines of 88"
            yield Finding(half.block.path, half.block.line, "ruff would reformat", hint)


def _codes(folder: Path, files: dict[Path, tuple[Page, Half]]) -> Iterator[Finding]:
    named = {code for page, half in files.values() if (code := _named_code(page, half))}
    if not named:
        return
    select = f"--select={','.join(sorted(named))}"
    reports: list[dict[str, Any]] = json.loads(
        _ruff(folder, "check", "--preview", select, "--output-format=json")
    )
    found = {(Path(report["filename"]).resolve(), report["code"]) for report in reports}
    for path, (page, half) in files.items():
        code = _named_code(page, half)
        if code is None or ((path, code) in found) is (half.verdict == "incorrect"):
            continue
        verb = "misses" if half.verdict == "incorrect" else "reports"
        message = f"{code} {verb} the {half.verdict} half"
        hint = "name a code that tells the halves apart, or none"
        yield Finding(half.block.path, half.block.line, message, hint)


def _named_code(page: Page, half: Half) -> str | None:
    lint = page.meta.get("lint")
    return lint.get(half.pair) if isinstance(lint, dict) else None


def _ruff(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "ruff", *arguments, *ALWAYS, "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"ruff could not run: {done.stderr.strip()}")
    return done.stdout
