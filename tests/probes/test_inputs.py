"""The inputs probe: what wrong requests are answered."""

import asyncio
import re
from typing import Annotated, Any

import pytest
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field, create_model

from tests.harness import correct
from tests.harness.probing import Limits, judged, probed, read_request, told, traps
from tests.observers.shipped import shipped
from tests.probes.shop import shop

TRAP = "fastapi/middleware#problem-details-without-inputs"


class Login(BaseModel):
    name: str
    password: str


class Address(BaseModel):
    street: str
    number: int


def plain():
    """FastAPI with its own 422."""
    app = shop()

    @app.post("/login")
    async def log_in(login: Login) -> None: ...

    @app.post("/addresses")
    async def address(address: Address) -> None: ...

    @app.get("/items/{number}")
    async def item(number: int, limit: int = 3) -> None: ...

    return app


def test_an_echo_of_a_password_is_found() -> None:
    """The 422 about the missing name repeats the password beside it."""
    verdicts = probed(plain(), 'POST /login {"name": "a", "password": "p"}', wanted="inputs")

    assert (traps(verdicts), "password" in told(verdicts, "inputs")) == ({TRAP}, True)


def test_an_echo_of_plain_fields_is_a_note() -> None:
    """Every default FastAPI application repeats them; nobody is hurt by a street."""
    app = plain()
    problem = correct("fastapi/middleware", "problem-details-without-inputs").problem
    app.add_exception_handler(ValueError, problem)

    verdicts = probed(app, "GET /items/3?limit=2", wanted="inputs")

    assert judged(verdicts, "inputs") == {"ok"}, told(verdicts, "inputs")
    assert "repeats" in told(verdicts, "inputs")


def test_a_wrong_type_that_makes_a_500_is_found() -> None:
    """Glue that reads an unchecked dict fails for what a client may send."""
    app = shop()

    @app.post("/orders")
    async def order(request: Request) -> str:
        return (await request.json())["sku"].upper()

    verdicts = probed(app, 'POST /orders {"sku": "a"}', wanted="inputs")

    assert "when sku is missing: 500" in told(verdicts, "inputs")


def test_a_body_that_is_no_json_and_a_form_of_a_wrong_type_are_tried() -> None:
    """Hand-written glue answers both with a 500."""
    app = shop()

    @app.post("/json")
    async def as_json(request: Request) -> None:
        await request.json()

    @app.post("/form")
    async def as_form(request: Request) -> int:
        return int((await request.body()).decode().rpartition("=")[2])

    verdicts = probed(app, 'POST /json {"a": 1}', "POST /form pin=1", wanted="inputs")

    said = told(verdicts, "inputs")
    assert ("the JSON is cut off" in said, "pin is of a wrong type" in said) == (True, True)


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        ('POST /x {"a": {"b": [1]}}', {"a.b.0 is NaN", "a is missing", "a.b is of a wrong type"}),
        ("POST /x a=1&b=2", {"a is missing", "b is missing", "a is of a wrong type"}),
        ("GET /x?a=1&b=2", {"?a is wrong", "?b is wrong"}),
        ("GET /x/0190f5a4-1111-7222-8333-444455556666", {"the id in the path is wrong"}),
        ("GET /x", set()),
        ("POST /x []", {"the JSON is cut off"}),
        ("POST /x {no json", set()),
    ],
)
def test_each_place_of_a_request_is_made_wrong(asked, wrong) -> None:
    """Nested fields, forms, queries and ids."""
    request = read_request(asked, {})

    made = {each.what for each in shipped("inputs").wrong(request.path, request.body)}
    assert wrong <= made


def test_a_request_without_inputs_cannot_be_told_of() -> None:
    """There is nothing to make wrong."""
    app = shop()
    app.get("/version")(lambda: "1")

    verdicts = probed(app, "GET /version", wanted="inputs")

    assert judged(verdicts, "inputs") == {"cannot-tell"}


def test_a_unique_column_is_no_fault() -> None:
    """No value is sent twice, neither the probe's own nor one of the request's placeholders."""
    app, known = shop(), set()

    @app.post("/orders")
    async def order(body: dict[str, Any]) -> None:
        sku = str(body.get("sku"))
        if sku in known - {"None", "nan"}:
            raise ValueError(sku)
        known.add(sku)

    sent = 'POST /orders {"sku": "{{uuid}}", "note": "a", "tags": ["b", 2]}'
    verdicts = probed(app, sent, wanted="inputs")

    assert judged(verdicts, "inputs") == {"ok"}, told(verdicts, "inputs")


def test_an_answer_tells_what_no_exception_does() -> None:
    """A handler has made a 503 of it: its text is the evidence."""
    app = shop()

    @app.post("/orders")
    async def order(request: Request) -> PlainTextResponse:
        if "sku" in await request.json():
            return PlainTextResponse("ok")
        return PlainTextResponse("no stock", 503)

    verdicts = probed(app, 'POST /orders {"sku": "a"}', wanted="inputs")

    assert "when sku is missing: 503: no stock" in told(verdicts, "inputs")


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *[(each, True) for each in ("newPassword", "user.pin", "accessToken", "api_key", "auth")],
        *[(each, False) for each in ("author", "keyword", "passenger", "max_tokens", "spin")],
        *[(each, False) for each in ("secretary", "key", "shipping", "token_count")],
    ],
)
def test_a_name_tells_what_is_secret(name, secret) -> None:
    """An author is echoed by every default FastAPI application, and is no credential."""
    assert bool(shipped("inputs").SECRET.search(name)) is secret


@pytest.mark.parametrize(
    ("pages", "verdict"), [(int, "found"), (Annotated[int, Field(ge=1)], "ok")]
)
def test_a_number_that_nobody_expects_is_sent(pages, verdict) -> None:
    """Zero divides, minus one pages backwards; a field with a limit refuses both."""
    app = shop()
    book = create_model("Book", pages=(pages, ...))
    problem = correct("fastapi/middleware", "problem-details-without-inputs").problem
    app.add_exception_handler(RequestValidationError, problem)

    async def add(body) -> float:
        return 100 / body.pages

    add.__annotations__["body"] = book
    app.post("/books")(add)

    verdicts = probed(app, 'POST /books {"pages": 20}', wanted="inputs")

    assert judged(verdicts, "inputs") == {verdict}, told(verdicts, "inputs")
    assert ("pages is 0: 500: ZeroDivisionError" in told(verdicts, "inputs")) is (
        verdict == "found"
    )


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        ('POST /x {"pages": 20}', {"pages is 0", "pages is -1"}),
        ('POST /x {"price": 0}', {"price is -1"}),
        ('POST /x {"userId": 1}', {"userId is 0", "userId is -1", f"userId is {2**63}"}),
        ('POST /x {"paid": 1, "on": true}', {"paid is 0", "paid is -1"}),
        ("GET /x?page=1&a=b", {"?page is 0", "?page is -1"}),
        ("GET /x/7", {f"the id in the path is {each}" for each in (0, -1, 2**63)}),
    ],
)
def test_a_huge_number_is_sent_for_an_id_only(asked, wrong) -> None:
    """An application may obey a huge count: it would make so many rows."""
    request = read_request(asked, {})

    made = {each.what for each in shipped("inputs").wrong(request.path, request.body)}
    assert {each for each in made if re.search(r" is -?\d", each)} == wrong


def test_a_number_that_has_to_vary_is_left_alone() -> None:
    """A unique column would refuse the second 0, in this run or in the next one."""
    wrong = shipped("inputs").wrong

    made = [each.what for each in wrong("/x", '{"n": 5, "m": 5}', '{"n": 6, "m": 5}')]
    assert ("m is 0" in made, "n is 0" in made) == (True, False)


def test_only_the_part_that_is_an_id_is_made_wrong() -> None:
    """Neither the 1 of v1 nor a parameter whose name ends alike."""
    made = [each.path for each in shipped("inputs").wrong("/v1/items/1?ba=1&a=1", "")]

    assert "/v1/items/0?ba=1&a=1" in made
    assert "/v1/items/1?ba=1&a=0" in made
    assert all(path.startswith("/v1/items/") for path in made)


def test_a_wrong_request_that_never_ends_is_a_fault() -> None:
    """It is said where it waits, and not that the answer was a 500."""
    app = shop()

    @app.get("/items")
    async def items(limit: int) -> None:
        while limit < 1:
            await asyncio.sleep(0.01)

    limits = Limits(request=0.1, settle=0.1)
    verdicts = probed(app, "GET /items?limit=3", wanted="inputs", limits=limits)

    assert "when ?limit is 0, ?limit is -1: it waits at tests/probes/" in told(verdicts, "inputs")
