"""Texts of PyJWT: tokens of clients, keys of ours."""

import asyncio
import base64
import json
import secrets
import subprocess
import sys
import time
import warnings
from typing import Annotated

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer

from tests.errors.fastapi.served import ask
from tests.harness.errors import produces
from tests.harness.record import told
from tests.servers.http import Answer, CountingServer, Request
from tests.servers.ports import free_port

SPKI = PublicFormat.SubjectPublicKeyInfo
KEY = secrets.token_urlsafe(32)
PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)


def signed(*, key: str = KEY, **claims: object) -> str:
    """A token with these claims."""
    return jwt.encode({"sub": "7", "exp": time.time() + 60} | claims, key, "HS256")


async def shown(token: str, *, cured: bool) -> None:
    """Show a token to a service that lets PyJWT's errors out, or answers 401 when cured."""
    app = FastAPI()
    caught = jwt.InvalidTokenError if cured else ()

    async def get_user(token: Annotated[str, Depends(OAuth2PasswordBearer("login"))]) -> str:
        try:
            return str(jwt.decode(token, KEY, algorithms=["HS256"])["sub"])
        except caught:
            raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"}) from None

    @app.get("/")
    async def read(user: Annotated[str, Depends(get_user)]) -> str:
        return user

    assert await ask(app, headers={"authorization": f"Bearer {signed()}"}) == '200 "7"'
    answer = await ask(app, headers={"authorization": f"Bearer {token}"})
    assert answer == '401 {"detail":"Unauthorized"}'


@produces("fastapi", "Signature has expired")
async def a_token_is_too_old(cured):
    """Its `exp` lies in the past."""
    await shown(signed(exp=time.time() - 1), cured=cured)


@produces("fastapi", "Signature verification failed")
async def a_token_is_signed_with_another_key(cured):
    """The key is of another environment."""
    await shown(signed(key=secrets.token_urlsafe(32)), cured=cured)


@produces("fastapi", "Not enough segments")
async def a_token_is_no_token(cured):
    """A page without a session sends what JavaScript prints for nothing."""
    await shown("undefined", cured=cured)


@produces("fastapi", "Invalid token type. Token must be a")
async def a_cookie_is_missing(cured):
    """None is decoded."""
    cookies: dict[str, str] = {"session": signed()} if cured else {}
    assert jwt.decode(cookies.get("session"), KEY, algorithms=["HS256"])["sub"] == "7"


@produces("fastapi", "Audience doesn't match")
def a_token_is_for_another_audience(cured):
    """One issuer makes tokens for several services, and ours names itself or forgets to."""
    texts = []
    for expected in ("shop", ["shop", "admin"]) if cured else ("admin", None):
        try:
            jwt.decode(signed(aud="shop"), KEY, algorithms=["HS256"], audience=expected)
        except jwt.InvalidAudienceError as error:
            texts.append(told(error))
    assert len(texts) == (0 if cured else 2)
    return "\n".join(texts)


@produces("fastapi", "The token is not yet valid (iat)")
def a_token_comes_from_a_fast_clock(cured):
    """The issuer's clock is ten seconds ahead."""
    token = signed(iat=time.time() + 10)
    leeway = 30 if cured else 0
    assert jwt.decode(token, KEY, algorithms=["HS256"], leeway=leeway)["sub"] == "7"


@produces("fastapi", '"algorithms" argument when calling decode()')
def a_token_is_decoded_without_a_list_of_algorithms(cured):
    """The call of PyJWT 1."""
    options = {"algorithms": ["HS256"]} if cured else {}
    assert jwt.decode(signed(), KEY, **options)["sub"] == "7"


@produces("fastapi", "The specified alg value is not allowed")
def a_token_is_signed_another_way(cured):
    """The issuer uses an algorithm that is not in the list."""
    assert jwt.decode(signed(), KEY, algorithms=["HS256" if cured else "RS256"])["sub"] == "7"


@produces("fastapi", "which is below the minimum recommended length", where="pyjwt>=2.11")
def a_secret_is_short(cured):
    """A word of a few letters signs tokens."""
    warnings.simplefilter("always")
    jwt.encode({"sub": "7"}, secrets.token_urlsafe(32) if cured else "secret", "HS256")


def printed(*code: str, **options: object) -> str:
    """What a Python process prints that runs these lines."""
    command = [sys.executable, "-c", "\n".join(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, **options)
    return done.stdout + done.stderr


@produces("fastapi", "could not be found. Do you have cryptography installed?")
def an_algorithm_needs_another_package(cured):
    """The import of cryptography fails, as where it is not installed."""
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    token = jwt.encode({"sub": "7"}, private, "ES256")
    text = printed(
        "import sys",
        "pass" if cured else "sys.modules['cryptography'] = None",
        "import jwt",
        f"public = {private.public_key().public_bytes(Encoding.PEM, SPKI)!r}",
        f"try: print(jwt.decode({token!r}, public, ['ES256'])['sub'])",
        "except jwt.InvalidTokenError as error: print(repr(error))",
        f"print(len(jwt.encode({{}}, {pem!r}, 'ES256').split('.')))",
    )
    assert text == "7\n3\n" if cured else "Algorithm not supported" in text
    return text


@produces("fastapi", "module 'jwt' has no attribute 'encode'")
def a_file_has_the_name_of_the_package(cured, tmp_path):
    """The program imports its own file."""
    (tmp_path / ("tokens.py" if cured else "jwt.py")).write_text("")
    text = printed("import jwt", f"jwt.encode({{}}, {KEY!r}, 'HS256')", cwd=tmp_path)
    assert not cured or text == ""
    return text


@produces("fastapi", "Fail to fetch data from the url")
async def a_key_set_is_out_of_reach(cured):
    """Nothing listens where the keys should be."""
    private = ec.generate_private_key(ec.SECP256R1())
    public = jwt.algorithms.ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    token = jwt.encode({"sub": "7"}, private, "ES256", {"kid": "a"})

    async def keys(request: Request) -> Answer:
        body = jwt.api_jwk.json.dumps({"keys": [public | {"kid": "a", "use": "sig"}]})
        return Answer(body.encode())

    async with CountingServer(keys) as issuer:
        url = issuer.url if cured else f"http://127.0.0.1:{free_port()}"
        client = jwt.PyJWKClient(f"{url}/jwks.json", timeout=5)
        key = await asyncio.to_thread(client.get_signing_key_from_jwt, token)
        assert jwt.decode(token, key, algorithms=["ES256"])["sub"] == "7"


@produces("fastapi", "Unable to load PEM file")
def a_key_lost_its_line_breaks(cured):
    """An env file holds the PEM in one line, its line breaks as backslash and n."""
    given = PEM.replace("\n", r"\n")
    jwt.encode({"sub": "7"}, given.replace(r"\n", "\n") if cured else given, "ES256")


@pytest.mark.parametrize("size", [0, 30, len(PEM) - 30], ids=["empty", "one line", "no end"])
def test_a_pem_without_its_end_has_no_framing(size):
    """A PEM that is cut off is called so even where it begins as it should."""
    with pytest.raises(ValueError, match="Unable to load PEM file") as caught:
        jwt.encode({"sub": "7"}, PEM[:size], "ES256")

    assert "MalformedFraming" in str(caught.value)


@produces("fastapi", "Algorithm not supported")
def a_token_names_another_algorithm(cured):
    """The header's `alg` is in the list that is allowed, and PyJWT calls it `EdDSA`."""
    private = ed25519.Ed25519PrivateKey.generate()
    token = jwt.encode({"sub": "7", "exp": time.time() + 60}, private, "EdDSA")
    if not cured:
        header = base64.urlsafe_b64encode(json.dumps({"alg": "Ed25519"}).encode()).decode()
        token = ".".join([header.rstrip("="), *token.split(".")[1:]])
    jwt.decode(token, private.public_key(), algorithms=["EdDSA" if cured else "Ed25519"])
