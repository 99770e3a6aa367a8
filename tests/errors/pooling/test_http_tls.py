"""Texts of TLS between a client and a service."""

import asyncio
import datetime
import ssl
import tempfile

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.harness.errors import produces
from tests.servers.http import CountingServer
from tests.servers.tls import Authority, authority


@pytest.fixture(scope="module")
def ca(tmp_path_factory) -> Authority:
    """An authority that no client knows."""
    return authority(tmp_path_factory.mktemp("ca"))


async def ask(url, context=True):
    """The answer over TLS that this context trusts."""
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as http, http.get(url) as response:
        return await response.text()


@produces("pooling", "CERTIFICATE_VERIFY_FAILED")
async def an_authority_is_unknown(ca, cured):
    """A server has a certificate of the company's own authority, or one for another name."""
    trusting = ssl.create_default_context(cafile=str(ca.ca_file))
    names = ["127.0.0.1"] if cured else ["orders.internal"]
    async with (
        CountingServer(tls=ca.server()) as unknown,
        CountingServer(tls=ca.server(*names)) as other,
    ):
        calls = ask(unknown.url, trusting if cured else True), ask(other.url, trusting)
        answers = await asyncio.gather(*calls, return_exceptions=True)
    if errors := [answer for answer in answers if isinstance(answer, Exception)]:
        raise ExceptionGroup("calls failed", errors)
    assert answers == ["ok", "ok"]


@produces("pooling", "WRONG_VERSION_NUMBER")
async def a_port_speaks_no_tls(cured):
    """An `https` address leads to a port that speaks plain HTTP."""

    async def answer(reader, writer):
        request = await reader.read(2**16)  # what is no HTTP ends at no blank line
        status = "200 OK" if request.startswith(b"GET ") else "400 Bad Request"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await ask(f"{'http' if cured else 'https'}://127.0.0.1:{port}") == "ok"


def certificate(name, key, issuer, issuers_key, *extensions):
    """A certificate of `name`, valid for a day."""
    now = datetime.datetime.now(datetime.UTC)
    subject, parent = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in (name, issuer)
    )
    builder = x509.CertificateBuilder(
        parent, subject, key.public_key(), x509.random_serial_number()
    )
    builder = builder.not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    keys = [
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuers_key.public_key()),
    ]
    for extension in [*keys, *extensions]:
        builder = builder.add_extension(extension, isinstance(extension, x509.BasicConstraints))
    return builder.sign(issuers_key, hashes.SHA256()).public_bytes(Encoding.PEM)


SIGNS = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


@produces("pooling", "CA cert does not include key usage extension", where="python>=3.13")
async def an_authority_lacks_its_key_usage(cured):
    """The authority was made by hand, without keyUsage; then with the same key and keyUsage."""
    authoritys, servers = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    usage = [SIGNS] if cured else []
    root = certificate(
        "ca", authoritys, "ca", authoritys, x509.BasicConstraints(ca=True, path_length=None), *usage
    )
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    chain = certificate("localhost", servers, "ca", authoritys, names)
    chain += servers.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.NamedTemporaryFile() as file:
        file.write(chain)
        file.flush()
        serving.load_cert_chain(file.name)
    trusting = ssl.create_default_context(cadata=root.decode())
    async with CountingServer(tls=serving) as upstream:
        assert await ask(upstream.named("localhost"), trusting) == "ok"
