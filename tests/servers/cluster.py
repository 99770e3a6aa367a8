"""A PostgreSQL of a test's own, which it may restart, and where others need a password."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.postgres import Database, postgres_server

# The first line that fits decides: postgres is trusted, whoever else asks needs a password.
PASSWORDS = """
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True)
class Cluster:
    """A server of its own; `database` is its maintenance database."""

    database: Database

    def restart(self, mode: str = "fast") -> None:
        """Stop and start it on the same port; `immediate` stops it as a crash does."""
        data = Path(self.database.execute("SHOW data_directory")[0][0])
        postgres = (data / "postmaster.opts").read_text(encoding="utf-8").split()[0]
        owner: dict[str, Any] = {}
        if os.geteuid() == 0:
            found = data.stat()
            owner = {"user": found.st_uid, "group": found.st_gid, "extra_groups": []}
        subprocess.run(
            [Path(postgres).with_name("pg_ctl"), "-D", data, "-m", mode, "-w", "-s", "restart"],
            cwd=data,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=True,
            **owner,
        )

    def demand_passwords(self) -> None:
        """Let nobody but postgres connect without a password from now on."""
        file = Path(self.database.execute("SHOW hba_file")[0][0])
        file.write_text(PASSWORDS, encoding="utf-8")
        self.restart()


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Start a server of one's own for the block, which takes a second or more."""
    with postgres_server(own=True) as database:
        yield Cluster(database)
