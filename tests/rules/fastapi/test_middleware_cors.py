"""How the rule on middleware is known: what CORS allows, and which middleware is outermost."""

import asyncio
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import Response
from starlette.middleware import Middleware

from tests.harness import confirms, correct
from tests.observers.asgi import App, request
from tests.rules.fastapi.test_middleware_sockets import Auth

ORIGIN = "https://app.example"


def readable(**options: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(CORSMiddleware, allow_credentials=True, **options)
    app.add_api_route("/", lambda: "private")
    return app


@confirms("fastapi/middleware", "wildcard-origin-with-credentials")
async def a_wildcard_with_credentials_lets_any_site_read():
    """So does a dot in a pattern; and a POST fails until its method is listed."""

    async def reads(app: FastAPI, origin: str) -> bool:
        answer = await request(app, headers={"origin": origin, "cookie": "session=1"})
        allowed = answer.header("access-control-allow-credentials") == "true"
        return allowed and answer.header("access-control-allow-origin") == origin

    async def may_post(app: FastAPI) -> bool:
        asks = {"origin": ORIGIN, "access-control-request-method": "POST"}
        return (await request(app, "/", "OPTIONS", headers=asks)).status == 200

    listed = readable(allow_origins=[ORIGIN])
    assert await reads(readable(allow_origins=["*"]), "https://evil.example")
    assert not await reads(listed, "https://evil.example")
    assert await reads(listed, ORIGIN)

    loose, exact = r"https://.*app.example", r"https://app\.example"
    assert await reads(readable(allow_origin_regex=loose), "https://app-example")
    assert not await reads(readable(allow_origin_regex=exact), "https://app-example")

    assert not await may_post(listed)
    assert await may_post(readable(allow_origins=[ORIGIN], allow_methods=["POST"]))


def test_the_preflight_for_what_is_not_listed_is_refused() -> None:
    """Of methods and headers, but for the few headers that Starlette always allows."""
    app = correct("fastapi/middleware", "cors-around-everything").create_app(
        FastAPI(), Auth, [ORIGIN]
    )

    def status(method: str, header: str) -> int:
        asks = {"origin": ORIGIN, "access-control-request-method": method}
        asks["access-control-request-headers"] = header
        return asyncio.run(request(app, "/", "OPTIONS", headers=asks)).status

    allowed = [status("POST", each) for each in ("authorization, x-request-id", "content-type")]
    refused = [status("PUT", "authorization"), status("POST", "x-other")]

    assert (allowed, refused) == ([200, 200], [400, 400])


class Early:
    """Answers one path itself, so that one sees what it stands outside of."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        mine = scope.get("path") == "/early"
        await (Response("early") if mine else self.app)(scope, receive, send)


def test_the_list_begins_with_the_outermost_and_add_middleware_ends_with_it() -> None:
    """A request without a key reaches what stands outside of auth only."""
    listed = [
        FastAPI(middleware=[Middleware(Early), Middleware(Auth)]),
        FastAPI(middleware=[Middleware(Auth), Middleware(Early)]),
    ]
    added = [FastAPI(), FastAPI()]
    for app, kinds in zip(added, ([Auth, Early], [Early, Auth]), strict=True):
        for kind in kinds:
            app.add_middleware(kind)

    found = [asyncio.run(request(app, "/early")).status for app in (*listed, *added)]

    assert found == [200, 401, 200, 401]
