"""A real PgBouncer in front of a test's database, in transaction mode unless told otherwise.

It comes from $PGBOUNCER, PATH or /usr/sbin; without one the test is skipped. PgBouncer refuses to
run as root: there it runs as `nobody`.
"""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.servers.ports import free_port
from tests.servers.postgres import Database


@cache
def binary() -> str | None:
    """The path of the PgBouncer on this machine, or None."""
    return os.environ.get("PGBOUNCER") or shutil.which(
        "pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin"
    )


@cache
def version() -> tuple[int, int]:
    """Its version; (1, 18) is what the rules were measured on. Skips the test without one."""
    path = binary()
    if path is None:
        pytest.skip("no PgBouncer on this machine: apt-get install pgbouncer")
    shown = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.(\d+)", shown)
    assert found, f"pgbouncer --version says {shown!r}"
    return int(found[1]), int(found[2])


@contextmanager
def pgbouncer(
    database: Database, *, prepared_statements: int = 0, **settings: object
) -> Iterator[Database]:
    """Yield the same database, through PgBouncer; every client becomes the database's own user.

    `settings` are PgBouncer's. `prepared_statements` is its max_prepared_statements, which exists
    from 1.21; 0 makes a newer one do as the older ones. Raises RuntimeError with its log when it
    does not start.
    """
    tracks = {"max_prepared_statements": prepared_statements} if version() >= (1, 21) else {}
    target = urlsplit(database.url)
    name = target.path.removeprefix("/")
    server = {
        "host": target.hostname,
        "port": target.port or 5432,
        "dbname": name,
        "user": unquote(target.username or ""),
        "password": unquote(target.password or ""),
    }
    route = " ".join(f"{key}='{value}'" for key, value in server.items() if value)
    defaults = {
        "listen_addr": "127.0.0.1",
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "transaction",
    }
    chosen = defaults | tracks | settings
    home = Path(tempfile.mkdtemp(prefix="pgbouncer-", dir="/tmp"))
    home.chmod(0o755)
    try:
        for attempt in range(3):
            port = free_port()
            lines = ["[databases]", f"{name} = {route}", "[pgbouncer]", f"listen_port = {port}"]
            lines += [f"{key} = {value}" for key, value in chosen.items()]
            (home / "pgbouncer.ini").write_text("\n".join(lines) + "\n", encoding="utf-8")
            process = _run(home)
            try:
                if not _is_up(process, home / "log"):
                    if attempt == 2:  # twice another process took the port; this is something else
                        raise RuntimeError(f"no PgBouncer:\n{(home / 'log').read_text()}")
                    continue
                address = f"postgres@127.0.0.1:{port}"
                yield Database(target._replace(netloc=address, query="").geturl())
                return
            finally:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run(home: Path) -> subprocess.Popen[bytes]:
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    with (home / "log").open("wb") as log:
        return subprocess.Popen(
            [str(binary()), str(home / "pgbouncer.ini")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            **user,
        )


def _is_up(process: subprocess.Popen[bytes], log: Path, limit: float = 10) -> bool:
    end = time.monotonic() + limit
    while process.poll() is None and time.monotonic() < end:
        if "process up" in log.read_text(encoding="utf-8", errors="replace"):
            return True
        time.sleep(0.01)
    return False
