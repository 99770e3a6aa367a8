"""What the generated configurations make the real linters say, of halves and of our own cases."""

import dataclasses
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import ModuleType

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations

from rulebook.lint import lint_rule
from rulebook.linters import BLOCKING, COMMANDS, FILES, advices, linter_files
from tests.harness import ROOT, correct, incorrect, pages, pair_of
from tests.harness.interpreters import uv

Half = Callable[[str, str], ModuleType]  # correct or incorrect
RUFF = [sys.executable, "-m", "ruff", "check", "--no-cache"]
# Not among the tests' requirements: a compiled parser and a program of 25 MB, for a few slow tests.
FLAKE8 = ["--from=flake8==7.5.0", "--with=flake8-async==26.8.1", "flake8"]
SQUAWK = ["--from=squawk-cli==2.70.0", "squawk"]

RULES = {name: page for name, page in pages().items() if name != "SKILL"}
ADVICES = advices(RULES)
CHOSEN = {(each.tool, each.code) for each in ADVICES if not each.refused}
REFUSED = {(each.tool, each.code) for each in ADVICES if each.refused}
TEXTS = {path.name: text for path, text in linter_files(ROOT, RULES).items()}
CALLS = [call for named in BLOCKING.values() for call in named]


def blocking(call: str, *imports: str) -> tuple[str, str]:
    """A call in a coroutine, and the same call in a function that a thread runs."""
    head = "".join(f"import {name}\n" for name in imports)
    text = head + "\n\nasync def work(path: str) -> None:\n    " + call + "\n"
    return text, text.replace("async def", "def")


def awaiting(wrong: str, right: str) -> tuple[str, str]:
    """Two ways to end `try: await job`."""
    head = "import asyncio\n\n\nasync def work(job: asyncio.Task[None]) -> None:\n"
    return tuple(f"{head}    try:\n        await job\n    {each}\n" for each in (wrong, right))


def halves(page: str, pair: str) -> tuple[str, str]:
    return tuple(half.block.code for half in pair_of(page, pair).halves)


CANCEL = "asyncio.CancelledError"
GROUP = """\
import asyncio
from contextlib import asynccontextmanager

async def rows():
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(1))
        yield 1
"""
NOW = "from datetime import UTC, datetime\n\nnow = datetime.{}\n"
CASES = {
    ("ruff", "ASYNC210"): blocking("requests.get(path, timeout=5)", "requests"),
    ("ruff", "ASYNC212"): blocking("with httpx.Client() as c:\n        c.get(path)", "httpx"),
    ("ruff", "ASYNC220"): blocking("subprocess.Popen([path])", "subprocess"),
    ("ruff", "ASYNC221"): blocking("subprocess.run([path])", "subprocess"),
    ("ruff", "ASYNC222"): blocking("os.waitpid(1, 0)", "os"),
    ("ruff", "ASYNC230"): blocking("open(path)"),
    ("ruff", "ASYNC240"): blocking("os.path.exists(path)", "os.path"),
    ("ruff", "ASYNC250"): blocking("input()"),
    ("ruff", "ASYNC251"): blocking("time.sleep(1)", "time"),
    ("ruff", "B012"): awaiting("finally: return", "finally: print()"),
    ("ruff", "DTZ003"): (NOW.format("utcnow()"), NOW.format("now(UTC)")),
    ("ruff", "DTZ005"): (NOW.format("now()"), NOW.format("now(UTC)")),
    ("ruff", "E722"): awaiting("except: pass", "except OSError: pass"),
    ("ruff", "RUF006"): halves("asyncio/taskgroup", "own-background-tasks"),
    ("ruff", "RUF075"): halves("fastapi/lifespan", "close-whatever-was-opened"),
    ("flake8", "ASYNC101"): (GROUP, GROUP.replace("async def", "@asynccontextmanager\nasync def")),
    ("flake8", "ASYNC104"): awaiting(f"except {CANCEL}: return", f"except {CANCEL}: raise"),
    ("flake8", "ASYNC200"): blocking("hashlib.scrypt(b'', salt=b'')", "hashlib"),
}
# Before a refused fix, and what the fix leaves: the trap.
SUPPRESSING = f"        with suppress({CANCEL}):\n            await worker\n"
PASSING = f"        try:\n            await worker\n        except {CANCEL}:\n            pass\n"
STOP = pair_of("asyncio/cancellation", "stopping-a-task").incorrect.block.code
PROVIDER = (
    "from __future__ import annotations\n\nfrom {} import Key\n\n\n"
    "async def provide(key: Key) -> str:\n    return str(key)\n"
)
HIDDEN = "if TYPE_CHECKING:\n    from {} import Key\n"
QUERY = 'from sqlalchemy import column, select\n\nquery = select(1).where(column("x") {} None)\n'
FIXES = {
    "SIM105": (STOP.replace(SUPPRESSING, PASSING), SUPPRESSING),
    "TC001": (PROVIDER.format("service"), HIDDEN.format("service")),
    "TC002": (PROVIDER.format("vendor"), HIDDEN.format("vendor")),
    "TC003": (PROVIDER.format("uuid"), HIDDEN.format("uuid")),
    "E711": (QUERY.format("=="), QUERY.format("is")),
}


def run(*command: str | Path, cwd: Path, text: str | None = None) -> str:
    """Run a linter and return what it reports; it may find something, and may not fail."""
    line = list(map(str, command))
    done = subprocess.run(line, cwd=cwd, input=text, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def isolated(*arguments: str | Path) -> list[str]:
    """Start a linter of these versions in an environment of its own."""
    options = ["--quiet", "--system-certs", "--python", sys.executable]
    return [uv(), "tool", "run", *options, *map(str, arguments)]


def ruff(folder: Path, *options: str | Path) -> set[tuple[str, str]]:
    """Which file draws which code."""
    found = json.loads(run(*RUFF, "--output-format=json", *options, ".", cwd=folder))
    return {(Path(each["filename"]).name, each["code"]) for each in found}


def flake8(folder: Path, settings: Path, what: str = "code") -> list[tuple[str, str]]:
    """Which file draws which code, or which text, in the order of the lines."""
    form = f"--format=%(path)s %({what})s"
    lines = run(*isolated(*FLAKE8, "--config", settings, form, "."), cwd=folder).splitlines()
    return [(Path(path).name, rest) for path, _, rest in (line.partition(" ") for line in lines)]


def config(tool: str, folder: Path) -> Path:
    """Write the generated configuration of a linter into a folder."""
    path = folder / FILES[tool]
    path.write_text(TEXTS[path.name], encoding="utf-8")
    return path


def written(tool: str, folder: Path) -> Path:
    """The cases of a linter as files; beside them the correct halves and the example service."""
    for (_, code), texts in [each for each in CASES.items() if each[0][0] == tool]:
        for verdict, text in zip(("wrong", "right"), texts, strict=True):
            (folder / f"{code}_{verdict}.py").write_text(text, encoding="utf-8")
    for page in RULES.values():
        for pair in page.pairs:
            (folder / f"{page.category}_{pair.slug}.py").write_text(pair.correct.block.code)
    for path in (ROOT / "examples").rglob("*.py"):
        (folder / f"example_{path.stem}.py").write_bytes(path.read_bytes())
    return folder


def wrong(tool: str) -> set[tuple[str, str]]:
    return {(f"{code}_wrong.py", code) for mine, code in CHOSEN if mine == tool}


def test_ruff_reports_each_trap_and_nothing_correct(tmp_path: Path) -> None:
    """Of the cases, the correct halves and the examples, only what is wrong draws a report."""
    assert ruff(written("ruff", tmp_path), "--config", config("ruff", tmp_path)) == wrong("ruff")


@pytest.mark.slow
def test_flake8_reports_each_trap_and_nothing_correct(tmp_path: Path) -> None:
    """Of the cases, the correct halves and the examples, only what is wrong draws a report."""
    assert set(flake8(written("flake8", tmp_path), config("flake8", tmp_path))) == wrong("flake8")


@pytest.mark.slow
def test_flake8_knows_every_blocking_call(tmp_path: Path) -> None:
    """Each call of the list, in a coroutine and not in a thread's function."""
    imports = "".join(f"import {call.rpartition('.')[0]}\n" for call in CALLS)
    body = "".join(f"    {call}()\n" for call in CALLS)
    (tmp_path / "calls.py").write_text(f"{imports}\n\nasync def work():\n{body}")
    (tmp_path / "thread.py").write_text(f"{imports}\n\ndef work():\n{body}")

    reports = flake8(tmp_path, config("flake8", tmp_path), "text")

    named = [(path, text.partition(" sync call ")[2].split()[0]) for path, text in reports]
    assert named == [("calls.py", call) for call in CALLS]


def test_each_code_is_shown_by_a_case() -> None:
    """A chosen code on a trap; a refused one on what its fix leaves, or on a correct half."""
    harm = {("ruff", code) for code in [*FIXES, "ASYNC119"]}

    assert (set(CASES), harm) == (CHOSEN, {each for each in REFUSED if each[0] != "squawk"})


@pytest.mark.parametrize("pasted", [False, True])
@pytest.mark.parametrize("code", FIXES)
def test_a_refused_fix_writes_the_trap(code: str, pasted: bool, tmp_path: Path) -> None:
    """Where ruff selects every rule, until our lines stand beside that."""
    before, trap = FIXES[code]
    path = tmp_path / "before.py"
    path.write_text(before)
    (tmp_path / "service.py").touch()  # a module of the project's own
    everything(tmp_path, pasted=pasted)

    run(*RUFF, "--fix", "--unsafe-fixes", ".", cwd=tmp_path)

    assert (trap in path.read_text(encoding="utf-8")) is not pasted


@pytest.mark.parametrize("pasted", [False, True])
def test_an_alarm_on_the_correct_provider_is_refused(pasted: bool, tmp_path: Path) -> None:
    """ASYNC119 reports it, until our lines stand in the configuration."""
    half = pair_of("fastapi/dependencies", "one-session-alias").correct
    (tmp_path / "before.py").write_text(half.block.code, encoding="utf-8")
    everything(tmp_path, pasted=pasted)

    assert (("before.py", "ASYNC119") in ruff(tmp_path)) is not pasted


def everything(folder: Path, *, pasted: bool) -> None:
    """Configure ruff to select every rule, with or without what ours says to refuse."""
    ours = tomllib.loads(TEXTS[FILES["ruff"]])["lint"]
    refused = [f"{key} = {json.dumps(ours[key])}" for key in ("ignore", "unfixable")]
    lines = ["[lint]", "preview = true", 'select = ["ALL"]', *(refused if pasted else [])]
    (folder / "ruff.toml").write_text("\n".join(lines))


def sql(load: Half) -> str:
    """What Alembic writes for a half of short-locks without a database."""
    module, buffer = load("sqlalchemy/migrations", "short-locks"), StringIO()
    options = {"as_sql": True, "output_buffer": buffer}
    context = MigrationContext.configure(dialect_name="postgresql", opts=options)
    with context.begin_transaction(), Operations.context(context):
        module.upgrade()
    return buffer.getvalue()


def squawk(text: str, folder: Path, *options: str | Path) -> set[str]:
    found = run(*isolated(*SQUAWK, "--reporter=json", *options), cwd=folder, text=text)
    return {each["rule_name"] for each in json.loads(found)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("half", "ours", "expected"),
    [
        (correct, False, {code for tool, code in REFUSED if tool == "squawk"}),
        (correct, True, set()),
        (incorrect, True, {"constraint-missing-not-valid", "require-concurrent-index-creation"}),
    ],
)
def test_squawk_tells_the_halves_apart(
    half: Half, ours: bool, expected: set[str], tmp_path: Path
) -> None:
    """Under our configuration, which excludes all that it mistakes the correct half for."""
    options = ["--config", config("squawk", tmp_path)] if ours else []

    assert squawk(sql(half), tmp_path, *options) == expected


@pytest.mark.slow
def test_squawk_accepts_what_hides_an_invalid_index(tmp_path: Path) -> None:
    """Once IF NOT EXISTS is there, prefer-robust-stmts is content."""
    followed = sql(correct).replace("CONCURRENTLY ix", "CONCURRENTLY IF NOT EXISTS ix")

    assert "prefer-robust-stmts" not in squawk(followed, tmp_path)


def test_the_command_works_beside_settings_of_the_project(tmp_path: Path) -> None:
    """It reports our codes in the project's code; nothing of the skill, of other rules, of 3.14."""
    skill = tmp_path / ".claude" / "skills" / "python-backend"
    (skill / "scripts").mkdir(parents=True)
    path = config("ruff", skill / "scripts")
    for code in (tmp_path / "service.py", skill / "skill.py"):
        code.write_text(CASES["ruff", "RUF006"][0], encoding="utf-8")
    newest = "import os\n\ntype Key = int\ntry:\n    pass\nexcept OSError, ValueError:\n    pass\n"
    (tmp_path / "newest.py").write_text(newest, encoding="utf-8")
    (tmp_path / "ruff.toml").write_text('lint.select = ["F"]\nlint.ignore = ["RUF006"]\n')
    command = COMMANDS["ruff"].format(file=path.relative_to(tmp_path)).split()

    found = run(sys.executable, "-m", *command, "--output-format=concise", cwd=tmp_path)

    assert [line.partition(":")[0] for line in found.splitlines()[:-1]] == ["service.py"]


def test_each_code_stands_beside_a_trap_that_exists() -> None:
    """The name on its line, or on the line above in flake8's file, is that of a pair or trap."""
    names = {f"{p.id}#{each.slug}" for p in RULES.values() for each in (*p.pairs, *p.claims)}
    named = set(re.findall(r"# (\S+#\S+)", "".join(TEXTS.values())))

    assert named & names == {each.trap for each in ADVICES} | set(BLOCKING)


@pytest.mark.parametrize(
    ("field", "complaint"),
    [
        ({"no-such": "E711"}, "linters names no pair and no trap: no-such"),
        *[({"retry-loops": each}, "linters: ") for each in ("E1,E2", "flake8-A1", "-flake8:A1", 7)],
    ],
)
def test_what_is_no_trap_or_no_code_is_a_complaint(field: object, complaint: str) -> None:
    """A trap that was renamed takes its codes along, or the check says so."""
    page = RULES["asyncio/cancellation"]

    found = lint_rule(dataclasses.replace(page, meta=page.meta | {"linters": field}))

    assert [each.message.startswith(complaint) for each in found] == [True]
