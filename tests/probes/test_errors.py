"""The errors probe: what the client is told when the database refuses."""

import pytest
from fastapi import BackgroundTasks, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from tests.harness import correct
from tests.harness.probing import judged, probed, told, traps
from tests.probes.shop import LIST, READ, shop

INPUTS = "fastapi/middleware#problem-details-without-inputs"


def failing(store, **handlers):
    """A shop that lists its stock, and answers a database error as `answer` does."""
    app = shop(store.url)

    @app.get("/stock")
    async def stock(request: Request) -> list[str]:
        async with request.state.sessions() as session:
            return list(await session.scalars(READ))

    if handlers:
        app.add_exception_handler(SQLAlchemyError, handlers["answer"])
    return app


async def with_its_text(request, error):
    return JSONResponse({"error": str(error)}, 500)


async def with_an_empty_list(request, error):
    return JSONResponse([])


async def bare(request, error):
    return JSONResponse({"error": "try again later"}, 503)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (with_its_text, {INPUTS}),
        (with_an_empty_list, {"sqlalchemy/sessions#error-caught-in-the-block"}),
        (bare, set()),
        (correct("fastapi/middleware", "problem-details-without-inputs").problem, set()),
    ],
)
def test_an_error_that_tells_too_much_or_too_little_is_found(store, answer, expected) -> None:
    """The error's text in the body, or a 200 for what failed; not a bare 503."""
    verdicts = probed(failing(store, answer=answer), LIST, wanted="errors")

    assert traps(verdicts) == expected


class Ids:
    """Puts a request id on what the application answers, or on all but a crash."""

    def __init__(self, app, *, everywhere: bool) -> None:
        self.app, self.everywhere = app, everywhere

    async def __call__(self, scope, receive, send):
        async def marked(message):
            if message["type"] == "http.response.start" and (
                self.everywhere or message["status"] < 500
            ):
                message["headers"] = [*message["headers"], (b"x-request-id", b"1")]
            await send(message)

        await self.app(scope, receive, marked)


def test_readiness_that_swallows_the_error_is_told_apart(sqlite) -> None:
    """There it is not a lost write, but requests that come to a broken instance."""
    app = failing(sqlite, answer=with_an_empty_list)
    app.add_api_route("/readyz", app.routes[-1].endpoint)

    verdicts = probed(app, "GET /readyz", wanted="errors")

    assert traps(verdicts) == {"fastapi/lifespan#readiness-that-answers"}


def test_a_statement_after_the_response_is_left_to_commit(sqlite) -> None:
    """Its client could not be told of a background task that fails."""
    app = shop(sqlite.url)

    async def later(sessions) -> None:
        async with sessions() as session:
            await session.scalars(READ)

    @app.post("/stock", status_code=202)
    async def stock(request: Request, tasks: BackgroundTasks) -> None:
        tasks.add_task(later, request.state.sessions)

    verdicts = probed(app, "POST /stock", wanted="errors")

    assert judged(verdicts, "errors") == {"cannot-tell"}, told(verdicts, "errors")


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_header_that_the_error_lacks_is_found(sqlite, everywhere) -> None:
    """The plain answer has a request id: the one of the crash has to have it too."""
    app = Ids(failing(sqlite), everywhere=everywhere)

    verdicts = probed(app, LIST, wanted="errors")

    expected = set() if everywhere else {"fastapi/middleware#no-id-in-log-lines"}
    assert traps(verdicts) == expected


def test_a_header_that_no_answer_has_is_not_missed(sqlite) -> None:
    """Without CORS and ids on the plain answer nothing is said of them."""
    verdicts = probed(failing(sqlite), LIST, wanted="errors")

    assert judged(verdicts, "errors") == {"ok"}, told(verdicts, "errors")


def test_a_request_that_sends_no_statement_cannot_be_told_of(sqlite) -> None:
    """There is nothing that could fail."""
    app = shop(sqlite.url)
    app.get("/version")(lambda: "1")

    verdicts = probed(app, "GET /version", wanted="errors")

    assert judged(verdicts, "errors") == {"cannot-tell"}


def test_a_stream_that_breaks_is_not_told_success(sqlite) -> None:
    """The status was sent before the statement failed; the body is not complete."""
    from fastapi.responses import StreamingResponse

    app = shop(sqlite.url)

    @app.get("/stock")
    async def stock(request: Request) -> StreamingResponse:
        async def lines():
            yield "sku\n"
            async with request.state.sessions() as session:
                for sku in await session.scalars(READ):
                    yield f"{sku}\n"

        return StreamingResponse(lines())

    verdicts = probed(app, LIST, wanted="errors")

    assert judged(verdicts, "errors") == {"ok"}, told(verdicts, "errors")


@pytest.mark.parametrize(("path", "verdict"), [("/stock", "cannot-tell"), ("/ready", "found")])
def test_a_cache_may_answer_without_the_database_and_readiness_may_not(
    sqlite, path, verdict
) -> None:
    """The answer is the one that was given before."""
    app, cache = shop(sqlite.url), {}

    @app.get(path)
    async def stock(request: Request) -> list[str]:
        try:
            async with request.state.sessions() as session:
                cache["skus"] = list(await session.scalars(READ))
        except SQLAlchemyError:
            if "skus" not in cache:
                raise
        return cache["skus"]

    verdicts = probed(app, f"GET {path}", wanted="errors")

    assert judged(verdicts, "errors") == {verdict}, told(verdicts, "errors")


@pytest.mark.parametrize(
    ("headers", "told_of"), [({}, True), ({"origin": "https://a.test"}, False)]
)
def test_what_it_takes_to_see_cors_headers_is_said(sqlite, headers, told_of) -> None:
    """Without an origin an application answers none, which is no proof that they are there."""
    verdicts = probed(failing(sqlite, answer=bare), LIST, wanted="errors", headers=headers)

    assert ("--header 'Origin: ...'" in told(verdicts, "errors")) is told_of


def test_a_page_about_sql_tells_no_more_when_it_fails(sqlite) -> None:
    """It shows a SELECT in any case."""
    app = shop(sqlite.url)

    @app.get("/stock")
    async def stock(request: Request) -> JSONResponse:
        try:
            async with request.state.sessions() as session:
                await session.scalars(READ)
        except SQLAlchemyError:
            return JSONResponse({"example": "SELECT 1", "error": "away"}, 503)
        return JSONResponse({"example": "SELECT 1"})

    verdicts = probed(app, LIST, wanted="errors")

    assert judged(verdicts, "errors") == {"ok"}, told(verdicts, "errors")
