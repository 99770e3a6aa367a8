"""How the rule on middleware is known: what wraps an app, and what it sees of the inside."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import StreamingResponse

from tests.harness import confirms, correct
from tests.observers.asgi import App, Exchange, request, running
from tests.rules.fastapi.test_middleware import lines
from tests.rules.fastapi.test_middleware_log import COOKIE, assembled


def test_the_wrapped_app_has_lifespan_state_and_overrides_of_the_one_inside() -> None:
    """The wrapper passes the lifespan on; what belongs to FastAPI stays on `api`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, str], None]:
        yield {"pool": "open"}

    async def who() -> str:
        return "user"

    api = FastAPI(lifespan=lifespan)

    @api.get("/")
    async def route(request: Request, name: str = Depends(who)) -> list[str]:
        return [request.state.pool, name]

    app = assembled(api)
    api.dependency_overrides[who] = lambda: "override"

    async def answer() -> Exchange:
        async with running(app) as state:
            return await request(app, headers=COOKIE, state=state)

    assert asyncio.run(answer()).json() == ["open", "override"]


def test_an_answer_in_one_piece_is_complete_though_its_client_has_left(caplog) -> None:
    """The same client cuts a stream short; uvicorn drops in silence what comes after either."""
    caplog.set_level(logging.INFO, "access")
    log = correct("fastapi/middleware", "one-access-line-per-request").AccessLog
    api, left = FastAPI(), asyncio.Event()

    @api.get("/piece")
    async def piece(http: Request) -> str:
        left.set()
        while not await http.is_disconnected():
            await asyncio.sleep(0)
        return "in one piece"

    @api.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks():
            yield "a"
            left.set()
            await asyncio.Event().wait()

        return StreamingResponse(chunks())

    async def ask() -> None:
        for path in ("/piece", "/stream"):
            left.clear()
            await request(log(api), path, disconnect=left)

    asyncio.run(ask())
    found = {each["route"]: each["complete"] for each in lines(caplog)}

    assert found == {"/piece": True, "/stream": False}


class Copies:
    """A middleware that keeps the scope it was given to itself."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(dict(scope), receive, send)


@confirms("fastapi/middleware", "route-prefixes")
async def a_copied_scope_hides_the_route(caplog):
    """The same request has its route where nothing inside copies."""
    caplog.set_level(logging.INFO, "access")
    log = correct("fastapi/middleware", "one-access-line-per-request").AccessLog
    for copies in (False, True):
        api = FastAPI()
        api.add_api_route("/items/{item_id}", lambda item_id: item_id)
        if copies:
            api.add_middleware(Copies)
        assert (await request(log(api), "/items/7")).status == 200

    assert [each["route"] for each in lines(caplog)] == ["/items/{item_id}", ""]
