"""Proof of the trap in rules/pooling/http.md about authorities that Python 3.13 refuses."""

import datetime
import inspect
import ssl
import sys
from dataclasses import dataclass, replace

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.harness import confirms, correct
from tests.harness.interpreters import run_on
from tests.servers.http import CountingServer

PAGE = "pooling/http"
STRICT = sys.version_info >= (3, 13)
REFUSAL = "CA cert does not include key usage extension"
HANDSHAKES = """
import ssl

def meet(ca_file, server_file, name, strict=True):
    context = ssl.create_default_context(cafile=ca_file)
    if not strict:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    accepting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    accepting.load_cert_chain(server_file)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(down, up, server_hostname=name)
    server = accepting.wrap_bio(up, down, server_side=True)
    waiting = [client, server]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
    return "ok"
"""


@dataclass(frozen=True)
class Authority:
    """A certificate authority as people make them: its key, its certificate as PEM."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey
    pem: bytes

    def reissued(self) -> "Authority":
        """The same name and key, now with a keyUsage."""
        pem = certificate(self.name, self.key, self.name, self.key, usage=True)
        return replace(self, pem=pem)

    def server(self, *names: str, bare: bool = False) -> bytes:
        """A new key and the certificate of a server, as one PEM; `bare` without identifiers."""
        key = ec.generate_private_key(ec.SECP256R1())
        pem = certificate(named(names[0]), key, self.name, self.key, names=names, bare=bare)
        return pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def certificate(subject, key, issuer, issuers_key, *, names=(), usage=False, bare=False) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    subjects = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuers = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuers_key.public_key())
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
    )
    if not bare:
        builder = builder.add_extension(subjects, critical=False)
        builder = builder.add_extension(issuers, critical=False)
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    if usage:
        kinds = dict.fromkeys(inspect.signature(x509.KeyUsage).parameters, False)
        kinds |= {"key_cert_sign": True, "crl_sign": True}
        builder = builder.add_extension(x509.KeyUsage(**kinds), critical=True)
    return builder.sign(issuers_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def ordinary(name: str) -> Authority:
    """An authority without keyUsage, which Python accepted until 3.12."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(named(name), key, certificate(named(name), key, named(name), key))


@pytest.fixture
def files(tmp_path):
    """Paths of a CA, the same reissued, two servers of it, and a server of a stranger."""
    ours, stranger = ordinary("ours"), ordinary("ours")
    contents = {
        "ca": ours.pem,
        "reissued": ours.reissued().pem,
        "server": ours.server("localhost"),
        "bare": ours.server("localhost", bare=True),
        "stranger": stranger.server("localhost"),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: str(tmp_path / name) for name in contents}


def ask(files, *cases):
    """A script that prints what comes of each handshake, a line each."""
    lines = [
        f"print(meet({files[ca]!r}, {files[server]!r}, {name!r}, strict={strict}))"
        for ca, server, name, strict in cases
    ]
    return "\n".join([HANDSHAKES, *lines])


CASES = (
    ("ca", "server", "localhost", True),
    ("reissued", "server", "localhost", True),
    ("reissued", "bare", "localhost", True),
    ("ca", "server", "localhost", False),
    ("ca", "bare", "localhost", False),
    ("ca", "server", "elsewhere", False),
    ("ca", "stranger", "localhost", False),
)


@confirms(PAGE, "ca-without-keyusage")
def python_3_13_refuses_an_ordinary_ca(files):
    """Reissued it is accepted for servers that name its key, without the strict flag for all."""
    plain, reissued, bare, lenient, lenient_bare, wrong_name, wrong_authority = run_on(
        "3.13", ask(files, *CASES)
    ).splitlines()

    assert (plain, reissued, bare) == (REFUSAL, "ok", "Missing Authority Key Identifier")
    assert (lenient, lenient_bare) == ("ok", "ok")
    assert "Hostname mismatch" in wrong_name
    assert wrong_authority not in ("ok", REFUSAL)


@confirms(PAGE, "ca-without-keyusage")
async def the_connector_of_the_page_meets_an_ordinary_ca(files):
    """aiohttp refuses it from 3.13 on, and accepts it reissued on every Python."""
    half = correct(PAGE, "trust-the-private-ca")
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(files["server"])

    async def ask_with(ca, url):
        async with aiohttp.ClientSession(connector=half.connector(files[ca])) as http:
            try:
                async with http.get(url) as response:
                    return response.status
            except aiohttp.ClientConnectorCertificateError as error:
                return error.certificate_error.verify_message

    async with CountingServer(tls=serving) as upstream:
        url = upstream.named("localhost")
        assert await ask_with("ca", url) == (REFUSAL if STRICT else 200)
        assert await ask_with("reissued", url) == 200
