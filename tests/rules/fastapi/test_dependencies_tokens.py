"""Confirmations of what fastapi/dependencies says of tokens: the chain from bearer to role."""

import time
from typing import Annotated, Any

import jwt
import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPBearer, OAuth2PasswordBearer
from pydantic import BaseModel

from tests.harness import confirms
from tests.observers.asgi import request

RULE = "fastapi/dependencies"
KEY = "k" * 32


def token(key: str = KEY, algorithm: str = "HS256", **claims: Any) -> str:
    """A token that is good for a minute unless `claims` says otherwise; None leaves a claim out."""
    claims = {"sub": "ann", "role": "user", "exp": int(time.time()) + 60} | claims
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, key, algorithm)


class User(BaseModel):
    """Who sent the request."""

    sub: str
    role: str


def guarded(caught: type[Exception], scheme: Any = None, **options: Any) -> FastAPI:
    """An application for administrators, by the chain the rule describes."""
    scheme = scheme or OAuth2PasswordBearer("login")

    async def get_user(bearer: Annotated[Any, Depends(scheme)]) -> User:
        text = bearer if isinstance(bearer, str) else bearer.credentials
        try:
            return User(**jwt.decode(text, KEY, ["HS256"], options=options))
        except caught:
            raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"}) from None

    async def get_admin(user: Annotated[User, Depends(get_user)]) -> User:
        if user.role != "admin":
            raise HTTPException(403)
        return user

    app = FastAPI()

    @app.get("/")
    async def name(admin: Annotated[User, Depends(get_admin)]) -> str:
        return admin.sub

    return app


async def answer(app: FastAPI, sent: str | None) -> tuple[int, str | None]:
    """The status and the scheme a client is told, for a token."""
    headers = {"authorization": f"Bearer {sent}"} if sent else {}
    exchange = await request(app, headers=headers)
    return exchange.status, exchange.header("www-authenticate")


@confirms(RULE, "token-errors")
@pytest.mark.parametrize("scheme", [OAuth2PasswordBearer("login"), HTTPBearer()])
async def every_unusable_token_is_a_401_with_its_scheme(scheme):
    """No token, an expired, forged, endless or broken one: 401; a good one decides by its role."""
    app = guarded(jwt.InvalidTokenError, scheme, require=["exp", "sub"])
    forged, endless, unsigned = token("x" * 32), token(exp=None), token("", "none")
    unusable = [None, token(exp=1), forged, endless, unsigned, token(sub=None), "\xe9.x.y"]

    answers = [await answer(app, each) for each in unusable]

    assert answers == [(401, "Bearer")] * len(unusable)
    assert await answer(app, token()) == (403, None)
    assert await answer(app, token(role="admin")) == (200, None)


@confirms(RULE, "token-errors")
async def a_narrow_except_or_a_lax_decode_lets_tokens_through():
    """DecodeError leaves an expired token a 500; without `require` a token may never expire."""
    narrow, lax = guarded(jwt.DecodeError, require=["exp"]), guarded(jwt.InvalidTokenError)

    assert await answer(narrow, token("x" * 32)) == (401, "Bearer")
    assert (await answer(narrow, token(exp=1)))[0] == 500
    assert (await answer(lax, token(exp=None, role="admin")))[0] == 200
