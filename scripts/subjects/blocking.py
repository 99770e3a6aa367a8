"""Calls that hold a thread, and with it an event loop, for as long as they last."""

import ast
import re
from functools import lru_cache

from project.module import Module, function_of, inside, keyword

from subjects.loops import always, called

HASHES = {"bcrypt.hashpw", "bcrypt.checkpw", "hashlib.scrypt", "hashlib.pbkdf2_hmac"}
ROUNDS = 20_000  # of PBKDF2, below which a hash takes about as long as a query
HASHERS = ("argon2.PasswordHasher", "passlib.context.CryptContext", "pwdlib.PasswordHash")
HASHING = {"hash", "verify", "verify_and_update"}
VERBS = {"get", "post", "put", "patch", "delete", "head", "options", "request"}
WAITS = {
    "time.sleep",
    "urllib.request.urlopen",
    "psycopg.connect",
    "psycopg2.connect",
    "pymysql.connect",
    "smtplib.SMTP",
    "smtplib.SMTP_SSL",
    *(f"{library}.{verb}" for library in ("requests", "httpx", "httpx2") for verb in VERBS),
}
SYNC_SESSIONS = ("sqlalchemy.orm.Session", "sqlmodel.Session")
ON_SESSION = {
    *("commit", "exec", "execute", "flush", "get", "query", "refresh", "scalar", "scalars"),
}


HASHED = re.compile(r"hash|scrypt|pbkdf2|bcrypt|checkpw|verify")
PROGRAMS = re.compile(r"(^|/)(scripts?|bin|cli|examples?|benchmarks?|\w*evals?)(/|$)")
BEFORE = re.compile(
    r"(^|_)(bootstrap|ensure|first|init|initial|initialize|migrate|seed|setup|startup|superuser)(_|$)"
)
SERVES = re.compile(rb"fastapi|starlette|aiohttp|sanic|quart|litestar|aiogram|discord")
QUEUES = re.compile(rb"celery|dramatiq|huey|shared_task|\brq\b")
RUNS = re.compile(rb"asyncio\.run\(|run_until_complete\(")
# What a module holds that has one of them.
SPEAKS = re.compile(
    rb"bcrypt|scrypt|pbkdf2|argon2|passlib|pwdlib|sleep|urlopen|requests|httpx|psycopg|mysql|smtp"
)


def hashes(module: Module, call: ast.Call) -> bool:
    """Whether a call computes a password hash, which is slow by intent."""
    name = module.name(call.func)
    if name in HASHES:
        rounds = call.args[3] if len(call.args) > 3 else keyword(call, "iterations")
        few = isinstance(rounds, ast.Constant) and isinstance(rounds.value, int)
        return not (few and name == "hashlib.pbkdf2_hmac" and rounds.value < ROUNDS)
    method = isinstance(call.func, ast.Attribute) and call.func.attr in HASHING
    return method and module.value(call.func.value) in HASHERS


def on_session(module: Module, call: ast.Call) -> bool:
    """Whether a call makes a synchronous Session speak to its database."""
    method = isinstance(call.func, ast.Attribute) and call.func.attr in ON_SESSION
    return method and module.value(call.func.value) in SYNC_SESSIONS


@lru_cache(maxsize=1024)
def blocks(module: Module, function: ast.AST) -> str | None:
    """The call by which every run of a function hashes a password or waits for the network."""
    if not SPEAKS.search(module.source):
        return None
    for call in inside(function, ast.Call):
        slow = module.name(call.func) in WAITS or hashes(module, call)
        if slow and always(function, call):
            return ast.unparse(call.func)
    return None


def is_program(module: Module) -> bool:
    """Whether a module is run from a command line, where one task may have the loop to itself."""
    return b"__main__" in module.source or bool(PROGRAMS.search(module.path))


def before_requests(node: ast.AST) -> bool:
    """Whether a node stands in a function named like a step of a start, when nobody waits yet."""
    return bool(BEFORE.search(getattr(function_of(node), "name", "")))


def in_a_job(module: Module, call: ast.Call) -> bool:
    """Whether a coroutine may have a loop to itself: far from endpoints, where jobs run loops.

    A password is hashed for a request all the same.
    """
    if SERVES.search(module.source) or module.project.is_provider(function_of(call), module):
        return False
    found = called(module, call)
    slow = blocks(*found) if found else None
    return bool(slow and not HASHED.search(slow)) and _jobs_run_loops(module.project)


@lru_cache(maxsize=1)
def _jobs_run_loops(project: object) -> bool:
    """Whether some file has jobs of a queue that start an event loop each."""
    for path in project.files.values():
        try:
            source = path.read_bytes()
        except OSError:
            continue
        if QUEUES.search(source) and RUNS.search(source):
            return True
    return False
