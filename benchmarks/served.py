"""What the measured processes serve: `/<case>/<variant>/...` leads to a variant, `/cpu` tells."""

import time
from collections.abc import Callable
from urllib.parse import quote

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

Find = Callable[[str, str], ASGIApp]


def switch(main: ASGIApp, find: Find) -> ASGIApp:
    """Serve what `find` gives for a case and a variant; `main` has the lifespan."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] == "/variants":
            chosen = main
        elif scope["path"] == "/cpu":
            chosen = PlainTextResponse(str(time.process_time_ns()))
        else:
            _, case, variant, rest = scope["path"].split("/", 3)
            scope["path"] = f"/{rest}"
            scope["raw_path"] = quote(scope["path"]).encode()
            chosen = find(case, variant)
        await chosen(scope, receive, send)

    return app


def bare() -> ASGIApp:
    from benchmarks.bare import app

    return switch(app, lambda *_: app)


def orders() -> ASGIApp:
    from orders.main import create_app

    app = create_app()
    return switch(app, lambda *_: app)


def variants() -> ASGIApp:
    from benchmarks.variants import VARIANTS, main

    applications = {(each.case, each.name): each.application() for each in VARIANTS}
    return switch(main, lambda *key: applications[key])
