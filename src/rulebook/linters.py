"""Turn what the rules say of linters' codes into configurations that the linters read."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rulebook.model import Page

FILES = {"ruff": "linters.toml", "flake8": "linters-flake8.ini", "squawk": "linters-squawk.toml"}
COMMANDS = {
    "ruff": "ruff check --config {file} .",
    "flake8": "flake8 --config {file} .",
    "squawk": "alembic upgrade head --sql | squawk --config {file}",
}
# Tells the halves apart, and reports 3,334 other places in ten public services, mostly harmless.
NOT_DELEGATED = {"BLE001"}
# The report is right about plain values; only its fix breaks a query.
ONLY_THE_FIX = {"E711"}
SKILL_FOLDERS = [".agents", ".claude"]
# ruff leaves these out by itself, and so does git; flake8 does not.
FOREIGN_FOLDERS = [".venv", "venv", "node_modules", "build", "dist", "site-packages"]

THREAD = "asyncio.to_thread"
# Calls that ruff does not know, by trap, with what flake8-async shall name instead. What only
# makes an object is not here: a session or an executor made in a lifespan blocks nothing.
BLOCKING = {
    "asyncio/structured-concurrency#blocking-calls-on-the-loop": {
        "bcrypt.checkpw": THREAD,
        "bcrypt.hashpw": THREAD,
        "hashlib.pbkdf2_hmac": THREAD,
        "hashlib.scrypt": THREAD,
        "boto3.client": THREAD,
        "boto3.resource": THREAD,
        "psycopg.connect": "psycopg.AsyncConnection.connect",
        "psycopg.Connection.connect": "psycopg.AsyncConnection.connect",
        "psycopg2.connect": THREAD,
        "pymysql.connect": THREAD,
        "sqlite3.connect": THREAD,
        "smtplib.SMTP": THREAD,
        "smtplib.SMTP_SSL": THREAD,
        "socket.create_connection": "asyncio.open_connection",
        "socket.getaddrinfo": "loop.getaddrinfo",
        "socket.gethostbyname": "loop.getaddrinfo",
        "concurrent.futures.wait": "asyncio.wait",
        "pandas.read_csv": THREAD,
        "pandas.read_excel": THREAD,
        "pandas.read_parquet": THREAD,
        "pandas.read_sql": THREAD,
        "shutil.copyfileobj": THREAD,
        "shutil.copytree": THREAD,
        "shutil.make_archive": THREAD,
        "shutil.rmtree": THREAD,
        "shutil.unpack_archive": THREAD,
        "alembic.command.downgrade": THREAD,
        "alembic.command.upgrade": THREAD,
    },
    "asyncio/structured-concurrency#a-second-loop": {"asyncio.run": "await"},
}
# What squawk asks of short-locks' correct half: a limit that env.py sets and Alembic's SQL does
# not show, and to leave a constraint in place that the same statement adds again.
FALSE_ALARMS = {
    "sqlalchemy/migrations#short-locks": [
        "ban-drop-constraint",
        "require-lock-timeout",
        "require-statement-timeout",
    ],
}


@dataclass(frozen=True, order=True)
class Advice:
    """A code of a linter and the trap it is about; refused where following it does harm."""

    tool: str
    code: str
    trap: str
    refused: bool = False


def advices(rules: dict[str, Page]) -> list[Advice]:
    """Return what the fields `lint` and `linters` say, and what squawk mistakes, by code."""
    found = set()
    for rule in rules.values():
        for name in ("lint", "linters"):
            field = rule.meta.get(name)
            for slug, words in field.items() if isinstance(field, dict) else ():
                found |= {_advice(word, f"{rule.id}#{slug}") for word in str(words).split()}
        for trap, codes in FALSE_ALARMS.items():
            if trap.startswith(f"{rule.id}#"):
                found |= {Advice("squawk", code, trap, refused=True) for code in codes}
    return sorted(each for each in found if each.code not in NOT_DELEGATED)


def linter_files(root: Path, rules: dict[str, Page]) -> dict[Path, str]:
    """Return each configuration by its path; a linter of which no rule speaks has none."""
    known = advices(rules)
    write = {"ruff": _ruff, "flake8": _flake8, "squawk": _squawk}
    return {
        root / "scripts" / FILES[tool]: _header(tool) + write[tool](mine)
        for tool in FILES
        if (mine := [each for each in known if each.tool == tool])
    }


def _advice(word: str, trap: str) -> Advice:
    code, refused = word.removeprefix("-"), word.startswith("-")
    if code.startswith("flake8:"):
        return Advice("flake8", code.removeprefix("flake8:"), trap)
    return Advice("squawk" if code.islower() else "ruff", code, trap, refused)


def _header(tool: str) -> str:
    command = COMMANDS[tool].format(file=f"path/to/{FILES[tool]}")
    return (
        "# Generated from the rules: each code stands beside the trap it is about.\n"
        f"# In your project's folder: {command}\n"
    )


def _by_code(found: Iterable[Advice]) -> dict[str, str]:
    traps: dict[str, list[str]] = {}
    for each in found:
        traps.setdefault(each.code, []).append(each.trap)
    return {code: ", ".join(names) for code, names in traps.items()}


def _ruff(found: list[Advice]) -> str:
    refused = [each for each in found if each.refused]
    return (
        "# Or copy select into your lint.extend-select, ignore and unfixable into yours.\n"
        "# ASYNC119 and RUF075 need ruff 0.15.16; an older one calls them unknown selectors.\n"
        f"extend-exclude = {json.dumps(SKILL_FOLDERS)}\n"
        "\n[lint]\n"
        "preview = true\n"
        "explicit-preview-rules = true\n"
        + _toml_list("select", [each for each in found if not each.refused])
        + "# Advice to refuse: following it makes the trap.\n"
        + _toml_list("ignore", [each for each in refused if each.code not in ONLY_THE_FIX])
        + _toml_list("unfixable", [each for each in refused if each.code in ONLY_THE_FIX])
    )


def _squawk(found: list[Advice]) -> str:
    return _toml_list("excluded_rules", found)


def _flake8(found: list[Advice]) -> str:
    # flake8 knows no comment behind a value, so the trap stands on a line of its own above.
    codes = [f"    # {trap}\n    {code}" for code, trap in _by_code(found).items()]
    text = (
        "[flake8]\n"
        f"extend-exclude = {', '.join(SKILL_FOLDERS + FOREIGN_FOLDERS)}\n"
        "select =\n" + ",\n".join(codes) + "\n"
    )
    if not any(each.code == "ASYNC200" for each in found):
        return text
    calls = [
        f"    # {trap}\n" + ",\n".join(f"    {call} -> {new}" for call, new in named.items())
        for trap, named in BLOCKING.items()
    ]
    return text + "async200-blocking-calls =\n" + ",\n".join(calls) + "\n"


def _toml_list(name: str, found: list[Advice]) -> str:
    lines = [f'    "{code}",  # {traps}\n' for code, traps in _by_code(found).items()]
    return f"{name} = [\n{''.join(lines)}]\n"
