"""Connections that a request opens, and those that are refused: requests are repeated, and may
send mails or charge cards.
"""

import asyncio
import ipaddress
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .places import here
from .trace import CURRENT

LOCAL = {"", "localhost", "localhost.localdomain", "ip6-localhost"}
BLOCKING = {"time.sleep", "socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system"}


class Network:
    """What may be spoken to, and what was wanted and refused."""

    def __init__(self, hosts: list[str]) -> None:
        self.hosts = set(hosts)
        self.refused: Counter[str] = Counter()
        self._addresses: set[str] = set()
        for host in hosts:
            try:
                self._addresses |= {str(each[4][0]) for each in socket.getaddrinfo(host, None)}
            except OSError:
                continue  # the application will be told so itself

    def allows(self, host: str) -> bool:
        """Whether a host name or address is loopback, or was allowed by name."""
        if host in LOCAL or host in self.hosts or host in self._addresses:
            return True
        try:
            return ipaddress.ip_address(host.partition("%")[0]).is_loopback
        except ValueError:
            return False


_watching: list[tuple[Network, int]] = []  # an audit hook cannot be taken away: it looks here


def _audit(event: str, arguments: Any) -> None:
    if not _watching or event not in BLOCKING:
        return
    network, loop = _watching[-1]
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = str(arguments[1][0])
        if not network.allows(host):
            network.refused[host] += 1
            raise ConnectionRefusedError(f"refused by the probe: {host}")
    trace = CURRENT.get()
    if trace is None or threading.get_ident() != loop:
        return
    if event != "socket.connect" or arguments[0].gettimeout() != 0:
        place, _ = trace.where(here())
        trace.blocking[f"{event} at {place}"] += 1


_hooked: list[bool] = []


@contextmanager
def guarded(network: Network) -> Iterator[None]:
    """Refuse what the network does not allow, and see blocking calls on this thread's loop."""
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked.append(True)
    _watching.append((network, threading.get_ident()))
    try:
        yield
    finally:
        _watching.pop()


@contextmanager
def dials_counted(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Count each connection that a client on this loop opens, whatever it speaks."""
    original = loop.create_connection

    async def create_connection(*arguments: Any, **options: Any) -> Any:
        trace = CURRENT.get()
        place = trace.where(here())[0] if trace is not None else ""
        transport, protocol = await original(*arguments, **options)
        if trace is not None:
            peer = transport.get_extra_info("peername")
            name = ":".join(map(str, peer[:2])) if isinstance(peer, tuple) else str(peer)
            trace.dials[f"{name}, opened at {place}"] += 1
        return transport, protocol

    loop.create_connection = create_connection  # type: ignore[method-assign]
    try:
        yield
    finally:
        del loop.create_connection
