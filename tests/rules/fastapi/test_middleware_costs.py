"""What the rule on middleware says of the CPU that a BaseHTTPMiddleware takes."""

from typing import Any

from fastapi import FastAPI, Request
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware

from tests.harness import confirms
from tests.observers.asgi import App, request
from tests.observers.cpu import cpu_ratio


class Base(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        return await call_next(request)


class Pure:
    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


@confirms("fastapi/middleware", "basehttpmiddleware-anywhere", limit=50)
async def five_base_middlewares_cost_more_than_the_request():
    """More than three times the CPU of the same service with five ASGI classes in their place."""

    def service(kind: type) -> FastAPI:
        app = FastAPI(middleware=[Middleware(kind)] * 5)

        @app.get("/")
        async def route() -> dict[str, str]:
            return {"state": "up"}

        return app

    base, pure = service(Base), service(Pure)

    async def asked(app: FastAPI) -> None:
        answer = await request(app)
        assert answer.status == 200

    ratio = await cpu_ratio(lambda: asked(base), lambda: asked(pure))

    assert ratio > 3, ratio
