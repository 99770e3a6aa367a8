"""Connections that a request opens, and those that are refused: requests are repeated, and may
send mails or charge cards.
"""

import asyncio
import ipaddress
import os
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from socket import getaddrinfo
from typing import Any

from .places import DRIVERS, Frame, belongs, here
from .trace import CURRENT

LOCAL = {"", "localhost", "localhost.localdomain", "ip6-localhost"}
SPAWNS = os.path.join("asyncio", "unix_events.py")
BLOCKING = {
    "time.sleep", "socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system",
    "sqlite3.connect",
}  # fmt: skip


class Network:
    """What may be spoken to, and what was wanted and refused."""

    def __init__(self, hosts: list[str]) -> None:
        self.hosts = set(hosts)
        self.refused: Counter[str] = Counter()
        self._addresses: set[str] = set()
        for host in hosts:
            try:
                self._addresses |= {str(each[4][0]) for each in getaddrinfo(host, None)}
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
    frames = here()
    if event == "subprocess.Popen" and any(frame.file.endswith(SPAWNS) for frame in frames):
        return  # asyncio's own, which does not wait for the process
    if event != "socket.connect" or arguments[0].gettimeout() != 0:
        place, _ = trace.where(frames)
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


def _drivers(frames: list[Frame]) -> bool:
    return any(belongs(frame.file, *DRIVERS) for frame in frames)


@contextmanager
def dials_counted(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Count each connection that a client opens on this loop or in a thread, whatever it speaks.

    What cannot be opened is noted: refused by the probe, or of a host that has no address here.
    """
    plain = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        plain(self, address)
        trace = CURRENT.get()
        if trace is not None and self.gettimeout() != 0:  # else it is the loop's
            frames = here()
            trace.dialled(address, trace.where(frames)[0], database=_drivers(frames))

    original = loop.create_connection
    names = ("getaddrinfo", "sock_connect")
    originals = {name: getattr(loop, name) for name in names}

    def noting(name: str) -> Any:
        async def attempt(*arguments: Any, **options: Any) -> Any:
            trace = CURRENT.get()
            frames = here()
            try:
                return await originals[name](*arguments, **options)
            except OSError:
                if trace is not None:
                    trace.undialled.add(trace.where(frames)[0])
                raise

        return attempt

    async def create_connection(*arguments: Any, **options: Any) -> Any:
        trace = CURRENT.get()
        frames = here()
        place = trace.where(frames)[0] if trace is not None else ""
        transport, protocol = await original(*arguments, **options)
        if trace is not None:
            trace.dialled(transport.get_extra_info("peername"), place, database=_drivers(frames))
        return transport, protocol

    loop.create_connection = create_connection  # type: ignore[method-assign]
    socket.socket.connect = connect  # type: ignore[method-assign]
    for name in names:
        setattr(loop, name, noting(name))
    try:
        yield
    finally:
        for name in ("create_connection", *names):
            delattr(loop, name)
        socket.socket.connect = plain  # type: ignore[method-assign]
