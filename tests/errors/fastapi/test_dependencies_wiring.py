"""Texts of parameters that FastAPI takes for something else, and of cached providers."""

import functools
import sys
from typing import Annotated, Any
from unittest.mock import MagicMock

from fastapi import Depends, FastAPI, Form, Request, WebSocket
from fastapi.requests import HTTPConnection
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPBearer, OAuth2PasswordBearer
from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncSession

from tests.errors.fastapi.causes import texts
from tests.errors.fastapi.served import ask
from tests.harness.errors import produces
from tests.observers.websocket import websocket


@produces("fastapi", "missing 1 required positional argument: 'request'")
async def a_dependency_of_requests_is_used_on_a_websocket(cured):
    """FastAPI has no Request to give when a WebSocket is opened."""
    app = FastAPI()

    async def of_requests(request: Request) -> str:
        return request.headers["x-user"]

    async def of_both(connection: HTTPConnection) -> str:
        return connection.headers["x-user"]

    User = Annotated[str, Depends(of_both if cured else of_requests)]  # noqa: N806

    @app.get("/")
    async def read(user: User) -> str:
        return user

    @app.websocket("/")
    async def talk(socket: WebSocket, user: User) -> None:
        await socket.accept()
        await socket.send_text(user)

    headers = {"x-user": "ann"}
    assert await ask(app, headers=headers) == '200 "ann"'
    async with websocket(app, headers=headers) as socket:
        if cured:
            assert await socket.receive() == "ann"
    if socket.error is not None:
        raise socket.error


@produces("fastapi", '"detail":"Not authenticated"')
async def a_request_brings_no_token(cured):
    """Both security classes want a scheme in front of the token."""
    app = FastAPI()

    @app.get("/oauth", dependencies=[Depends(OAuth2PasswordBearer("login"))])
    async def oauth() -> None: ...

    @app.get("/bearer", dependencies=[Depends(HTTPBearer())])
    async def bearer() -> None: ...

    headers = {"authorization": "Bearer abc" if cured else "abc"}
    answers = [await ask(app, path, headers=headers) for path in ("/oauth", "/bearer")]
    assert {each[:3] for each in answers} == {"200" if cured else "401"}
    return answers


async def a_mock_is_an_override(cured):
    """A MagicMock takes anything, so FastAPI asks the client for it."""
    app, stock = FastAPI(), MagicMock()
    stock.count.return_value = 3

    async def get_stock() -> Any: ...

    @app.get("/")
    async def count(stock: Annotated[Any, Depends(get_stock)]) -> int:
        return stock.count()

    app.dependency_overrides[get_stock] = (lambda: stock) if cured else stock
    answer = await ask(app)
    assert not cured or answer == "200 3"
    return answer


async def a_decorator_hides_the_signature(cured):
    """What FastAPI inspects is the wrapper."""
    app = FastAPI()

    def logged(endpoint):
        async def call(*args, **kwargs):
            return await endpoint(*args, **kwargs)

        return functools.wraps(endpoint)(call) if cured else call

    @app.get("/")
    @logged
    async def read(number: int) -> int:
        return number

    answer = await ask(app, "/?number=7")
    assert not cured or answer == "200 7"
    return answer


@produces("fastapi", '"loc":["query","args"]')
async def a_callable_takes_anything(cured):
    """FastAPI asks the client for what the signature names."""
    return await texts(cured, a_mock_is_an_override, a_decorator_hides_the_signature)


@produces("fastapi", '"loc":["query","request"]')
async def a_request_has_no_annotation(cured):
    """A parameter of no special type is a query parameter."""
    app = FastAPI()

    async def bare(request):
        return request.method

    async def typed(request: Request) -> str:
        return request.method

    app.get("/")(typed if cured else bare)
    answer = await ask(app)
    assert not cured or answer == '200 "GET"'
    return answer


async def a_session_is_taken_for_data(cured):
    """A parameter without Depends has to be something that Pydantic reads."""
    app = FastAPI()

    async def get_session() -> AsyncSession:
        return AsyncSession()

    async def bare(session: AsyncSession) -> None: ...

    async def injected(session: Annotated[AsyncSession, Depends(get_session)]) -> None: ...

    app.get("/")(injected if cured else bare)
    assert await ask(app) == "200 null"


async def a_return_type_holds_a_response(cured):
    """A union with a Response is no model."""
    app, options = FastAPI(), {"response_model": None} if cured else {}

    @app.get("/", **options)
    async def read() -> PlainTextResponse | dict[str, int]:
        return {"a": 1}

    assert await ask(app) == '200 {"a":1}'


@produces("fastapi", "Invalid args for response field! Hint: check that")
async def a_type_is_no_data(cured):
    """FastAPI makes a field of a parameter and of a return type."""
    return await texts(cured, a_session_is_taken_for_data, a_return_type_holds_a_response)


@produces("fastapi", "and default value together")
def a_dependency_stands_in_two_places(cured):
    """Both the annotation and the default name it."""
    app = FastAPI()

    def get_limit() -> int:
        return 20

    Limit = Annotated[int, Depends(get_limit)]  # noqa: N806

    async def once(limit: Limit) -> None: ...

    async def both(limit: Limit = Depends(get_limit)) -> None: ...  # noqa: B008

    app.get("/")(once if cured else both)


@produces("fastapi", "Status code 204 must not have a response body")
async def an_empty_answer_has_a_return_type(cured):
    """The return type promises a body."""
    app = FastAPI()

    async def with_body() -> dict[str, int]: ...

    async def empty() -> None: ...

    app.delete("/", status_code=204)(empty if cured else with_body)
    assert await ask(app, "/", "DELETE") == "204 "


@produces("fastapi", "is not a callable object")
async def a_provider_is_called_in_depends(cured):
    """What Depends gets is the result of the call."""
    app = FastAPI()

    def get_limit() -> int:
        return 20

    @app.get("/")
    async def read(limit: Annotated[int, Depends(get_limit if cured else get_limit())]) -> int:
        return limit

    assert await ask(app) == "200 20"


async def a_retry_gets_a_coroutine(cured):
    """The second attempt awaits what the first has awaited."""
    failures = [ConnectionError("reset")]

    async def load() -> int:
        if failures:
            raise failures.pop()
        return 20

    async def twice(work: Any) -> int:
        try:
            return await (work() if cured else work)
        except ConnectionError:
            return await (work() if cured else work)

    assert await twice(load if cured else load()) == 20


async def an_async_provider_is_cached(cured):
    """The cache hands out one coroutine, which can be awaited once."""
    app = FastAPI()

    @functools.lru_cache
    def load() -> dict[str, int]:
        return {"limit": 20}

    async def get_settings() -> dict[str, int]:
        return load()

    provider = get_settings if cured else functools.lru_cache(get_settings)

    @app.get("/")
    async def read(settings: Annotated[dict[str, int], Depends(provider)]) -> int:
        return settings["limit"]

    assert await ask(app) == "200 20"
    assert await ask(app) == "200 20"


@produces("fastapi", "cannot reuse already awaited coroutine", where="fastapi>=0.123.5")
async def a_coroutine_is_awaited_twice(cured):
    """A cache and a retry both hand it out again."""
    return await texts(cured, a_retry_gets_a_coroutine, an_async_provider_is_cached)


@produces("fastapi", "unhashable type:")
def a_cached_provider_takes_settings(cured):
    """The arguments are the cache's key."""

    class Settings(BaseModel):
        model_config = ConfigDict(frozen=cured)

        url: str = "redis://cache"

    @functools.lru_cache
    def get_url(settings: Settings) -> str:
        return settings.url

    assert get_url(Settings()) == "redis://cache"


@produces("fastapi", 'Form data requires "python-multipart" to be installed')
async def a_form_has_no_parser(cured, monkeypatch):
    """The import of python-multipart fails, as where it is not installed."""
    app = FastAPI()
    if not cured:
        for name in ("python_multipart", "multipart"):
            monkeypatch.setitem(sys.modules, name, None)

    @app.post("/login")
    async def login(name: Annotated[str, Form()]) -> str:
        return name

    form = {"content-type": "application/x-www-form-urlencoded"}
    assert await ask(app, "/login", "POST", headers=form, body=b"name=ann") == '200 "ann"'
