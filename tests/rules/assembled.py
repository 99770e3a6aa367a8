"""One service made of the correct halves of several rules, as their pages have them."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from tests.harness import correct
from tests.rules.fastapi.test_dependencies_tokens import KEY
from tests.servers.postgres import Database

ORIGIN = "https://shop.example"

database = correct("pooling/database", "one-engine-in-the-lifespan")
http = correct("pooling/http", "one-bounded-session-per-process")
alias = correct("fastapi/dependencies", "one-session-alias")
tokens = correct("fastapi/dependencies", "tokens-that-expire")
settings = correct("fastapi/dependencies", "settings-that-keep-secrets")
streams = correct("fastapi/dependencies", "sessions-for-streams")
readiness = correct("fastapi/lifespan", "readiness-that-answers")
errors = correct("fastapi/middleware", "problem-details-without-inputs")
cors = correct("fastapi/middleware", "cors-around-everything")
log = correct("fastapi/middleware", "one-access-line-per-request")
full = correct("pooling/tuning", "answer-503-when-full")
cleanup = correct("asyncio/cancellation", "cleanup-that-must-finish")
background = correct("asyncio/taskgroup", "own-background-tasks")


def make_api(postgres: Database) -> FastAPI:
    """The plain application: lifespan, probes, the stream, handlers of errors."""

    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncGenerator[dict[str, Any], None]:
        api.state.database_url = postgres.asyncpg
        loaded = settings.Settings(_env_file=None, jwt_key=KEY, database_url=postgres.asyncpg)
        async with AsyncExitStack() as stack:
            state = await stack.enter_async_context(database.lifespan(api))
            state |= await stack.enter_async_context(http.lifespan(api))
            stack.push_async_callback(cleanup.settle)
            stack.push_async_callback(background.drain)
            yield {**state, "settings": loaded, "checks": []}

    api = FastAPI(lifespan=lifespan)
    api.include_router(readiness.router)
    api.get("/export")(streams.export)
    for kind, handler in errors.app.exception_handlers.items():
        if handler is errors.problem:
            api.add_exception_handler(kind, handler)
    api.add_exception_handler(full.PoolTimeout, full.busy)
    return api


class Passing:
    """An ASGI middleware in the place of auth that asks nothing."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def serve(api: FastAPI, auth: Any) -> Any:
    """What a server is given: the access log around CORS around `auth` around the application."""
    return log.AccessLog(cors.create_app(api, auth, [ORIGIN]))
