"""Certificates made on the spot: an authority, its file, and servers that it vouches for."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Authority:
    """A private certificate authority: the file clients are given, the contexts servers use."""

    ca_file: Path
    _ca: trustme.CA

    def server(self, *names: str) -> ssl.SSLContext:
        """A server's context with a new certificate for these names (127.0.0.1, localhost)."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert(*(names or ("127.0.0.1", "localhost"))).configure_cert(context)
        return context


def authority(folder: Path) -> Authority:
    """A new authority, whose certificate is written to `folder`."""
    ca = trustme.CA()
    ca_file = folder / "ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    return Authority(ca_file, ca)
