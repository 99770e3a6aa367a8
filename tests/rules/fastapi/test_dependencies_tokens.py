"""The proof of the token pair of fastapi/dependencies, and what its correct half refuses."""

import time
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI, HTTPException

from tests.harness import correct, proves
from tests.harness.judge import run
from tests.observers.asgi import request

RULE = "fastapi/dependencies"
PAIR = "tokens-that-expire"
KEY = "k" * 32


def token(key: str = KEY, algorithm: str = "HS256", **claims: Any) -> str:
    """A token that is good for a minute unless `claims` says otherwise; None leaves a claim out."""
    claims = {"sub": "ann", "exp": int(time.time()) + 60} | claims
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, key, algorithm)


def state(key: str = KEY) -> dict[str, Any]:
    """What the lifespan yields by the rule: settings made by its own half."""
    half = correct(RULE, "settings-that-keep-secrets")
    return {"settings": half.Settings(_env_file=None, jwt_key=key, database_url="postgresql://")}


def guarded(half: Any) -> FastAPI:
    """Routes for users and for administrators, chained on the half's dependency."""
    User = Annotated[str, Depends(half.get_user_id)]  # noqa: N806 - an alias of a type

    async def get_admin(user: User) -> str:
        if user != "root":
            raise HTTPException(403)
        return user

    app = FastAPI()

    @app.get("/")
    async def name(user: User) -> str:
        return user

    @app.get("/admin")
    async def admin(user: Annotated[str, Depends(get_admin)]) -> str:
        return user

    return app


async def answer(app: FastAPI, sent: str | None, path: str = "/") -> tuple[int, str | None]:
    """The status and the scheme a client is told, for a token."""
    headers = {"authorization": f"Bearer {sent}"} if sent else {}
    exchange = await request(app, path, headers=headers, state=state())
    return exchange.status, exchange.header("www-authenticate")


@proves(RULE, PAIR)
async def an_expired_token_is_a_500_and_an_endless_one_is_let_in(half):
    """An expired token is no 401, one without exp is let in, a forged one lacks the header."""
    app = guarded(half)
    assert await answer(app, token()) == (200, None)
    assert await answer(app, None) == (401, "Bearer")
    forged = await answer(app, token("x" * 32))
    assert forged[0] == 401

    expired = await answer(app, token(exp=1))
    endless = await answer(app, token(exp=None))
    signs = {expired[0] == 500, endless[0] == 200, forged[1] != "Bearer"}

    assert len(signs) == 1, "the signs disagree"
    return signs.pop()


def test_every_unusable_token_is_a_401_with_its_scheme():
    """Expired, forged, endless, unsigned, nameless or broken; a good one decides by its role."""

    async def answers() -> None:
        app = guarded(correct(RULE, PAIR))
        forged, endless, unsigned = token("x" * 32), token(exp=None), token("", "none")
        unusable = [None, token(exp=1), forged, endless, unsigned, token(sub=None), "\xe9.x.y"]

        assert [await answer(app, each) for each in unusable] == [(401, "Bearer")] * len(unusable)
        assert await answer(app, token(), "/admin") == (403, None)
        assert await answer(app, token(sub="root"), "/admin") == (200, None)

    run(answers, limit=10)
