"""Hooks on psycopg and psycopg2: libpq connects past the loop and past Python's sockets."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from .database import Seen, hosts
from .places import here
from .trace import CURRENT
from .wrapping import Wrapper, hooked


@contextmanager
def watched(allowed: Callable[[str], bool], seen: Seen) -> Iterator[None]:
    """Count what each request connects, and refuse a host that is not allowed."""
    with hooked(_found(_Hooks(allowed, seen))):
        yield


def _found(hooks: "_Hooks") -> Iterator[tuple[Any, str, Wrapper]]:
    """What all connects go through, also those of a `connect` that was imported by its name."""
    try:
        import psycopg
    except ImportError:
        pass
    else:
        for owner in psycopg.Connection.__mro__:
            if "_connect_gen" in vars(owner):
                yield owner, "_connect_gen", hooks.generating
    try:
        import psycopg2
    except ImportError:
        pass
    else:
        yield psycopg2, "_connect", hooks.plain


class _Hooks:
    def __init__(self, allowed: Callable[[str], bool], seen: Seen) -> None:
        self.allowed, self.seen = allowed, seen

    def generating(self, original: Any) -> Any:
        def connect(kind: Any, conninfo: str = "", **options: Any) -> Generator[Any, Any, Any]:
            from psycopg.conninfo import conninfo_to_dict

            self._refuse(conninfo_to_dict(conninfo))
            connection = yield from original.__func__(kind, conninfo, **options)
            return self._opened(connection)

        return classmethod(connect)

    def plain(self, original: Any) -> Any:
        def connect(dsn: str, *arguments: Any, **options: Any) -> Any:
            from psycopg2.extensions import parse_dsn

            self._refuse(parse_dsn(dsn))
            return self._opened(original(dsn, *arguments, **options))

        return connect

    def _refuse(self, options: dict[str, Any]) -> None:
        for host in hosts(options):
            if not self.allowed(host):
                self.seen.refused.add(host)
                raise ConnectionRefusedError(f"refused by the probe: {host}")

    @staticmethod
    def _opened(connection: Any) -> Any:
        trace = CURRENT.get()
        if trace is not None:
            peer = (connection.info.host, connection.info.port)
            trace.dialled(peer, trace.where(here())[0], database=True)
        return connection
