"""Texts of answers that nothing can write."""

import math
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, field_validator

from tests.errors.fastapi.causes import texts
from tests.errors.fastapi.served import ask
from tests.harness.errors import produces

JSON = {"content-type": "application/json"}


class Item(BaseModel):
    """What most endpoints here take or return."""

    id: int


@produces("fastapi", "Object of type ValueError is not JSON serializable")
async def a_handler_repeats_the_errors_of_pydantic(cured):
    """The context of an error holds the validator's exception."""

    class Named(BaseModel):
        name: str

        @field_validator("name")
        @classmethod
        def known(cls, name: str) -> str:
            raise ValueError("this name is not known")

    app = FastAPI()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = error.errors()
        if cured:
            errors = [{"loc": each["loc"], "msg": each["msg"]} for each in errors]
        return JSONResponse({"errors": errors}, 422)

    @app.post("/")
    async def create(item: Named) -> None: ...

    assert (await ask(app, "/", "POST", body={"name": "a"})).startswith("422")


async def an_endpoint_returns_not_a_number(cured):
    """JSON has no word for it."""
    app = FastAPI()

    @app.get("/")
    async def read() -> JSONResponse:
        rate = float("nan")
        return JSONResponse({"rate": rate if math.isfinite(rate) or not cured else None})

    assert await ask(app) == '200 {"rate":null}'


async def a_number_has_no_return_type(cured):
    """With a return type Pydantic writes the answer, without one Starlette's JSONResponse."""
    app = FastAPI()

    async def bare():
        return {"rate": float("nan")}

    async def typed() -> dict[str, float]:
        return {"rate": float("nan")}

    app.get("/")(typed if cured else bare)
    assert await ask(app) == '200 {"rate":null}'


async def a_422_repeats_not_a_number(cured):
    """Python reads NaN in JSON, and FastAPI's own handler repeats it."""
    app = FastAPI()

    async def invalid(request: Request, error: Any) -> JSONResponse:
        errors = [{"loc": each["loc"], "msg": each["msg"]} for each in error.errors()]
        return JSONResponse({"errors": errors}, 422)

    if cured:
        app.add_exception_handler(RequestValidationError, invalid)

    @app.post("/")
    async def create(item: Item) -> None: ...

    answer = await ask(app, "/", "POST", headers=JSON, body=b'{"id": NaN}')
    assert answer.startswith("422")


@produces("fastapi", "Out of range float values are not JSON compliant", where="fastapi>=0.130")
async def not_a_number_is_written(cured):
    """JSON has no word for it."""
    return await texts(
        cured,
        an_endpoint_returns_not_a_number,
        a_number_has_no_return_type,
        a_422_repeats_not_a_number,
    )


class Row:
    """An object as an ORM gives it."""

    id = 1


@produces("fastapi", "Unable to serialize unknown type:")
async def a_row_stands_inside_an_untyped_answer(cured):
    """The annotation does not say what to make of it."""
    app = FastAPI()

    async def vague() -> dict[str, Any]:
        return {"item": Row()}

    async def exact() -> dict[str, Item]:
        return {"item": Row()}

    app.get("/")(exact if cured else vague)
    assert await ask(app) == '200 {"item":{"id":1}}'


@produces("fastapi", "vars() argument must have")
async def a_coroutine_is_returned(cured):
    """An await is missing, and nothing says what the endpoint returns."""
    app = FastAPI()

    async def load() -> int:
        return 1

    @app.get("/")
    async def read():
        return await load() if cured else load()

    assert await ask(app) == "200 1"


@produces("fastapi", "fastapi.exceptions.ResponseValidationError:")
async def an_endpoint_returns_nothing(cured):
    """A row that does not exist is None, and the return type says Item."""
    app = FastAPI()

    async def some() -> Item:
        return None

    async def perhaps() -> Item | None:
        return None

    app.get("/")(perhaps if cured else some)
    assert await ask(app) == "200 null"


@produces("fastapi", "'dict' object is not callable")
async def an_exception_handler_returns_a_dict(cured):
    """Handlers are no endpoints: what they return is sent as it is."""
    app = FastAPI()

    @app.exception_handler(LookupError)
    async def problem(request: Request, error: LookupError) -> Any:
        body = {"detail": "not found"}
        return JSONResponse(body, 404) if cured else body

    @app.get("/")
    async def read() -> None:
        raise LookupError

    assert await ask(app) == '404 {"detail":"not found"}'


@produces("fastapi", "'latin-1' codec can't encode character")
async def a_file_name_is_put_into_a_header(cured):
    """A header has no room for it as it is."""
    app, name = FastAPI(), "\u5831\u544a.pdf"
    value = f"filename*=utf-8''{quote(name)}" if cured else f'filename="{name}"'

    @app.get("/")
    async def download() -> Response:
        return Response(headers={"content-disposition": f"attachment; {value}"})

    assert (await ask(app)).startswith("200")
