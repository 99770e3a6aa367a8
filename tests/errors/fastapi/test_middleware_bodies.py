"""Texts of bodies that cannot be read."""

from typing import Annotated, Any

import httpx2
from fastapi import Body, FastAPI, Form, Request, UploadFile
from pydantic import BaseModel

from tests.errors.fastapi.causes import texts
from tests.errors.fastapi.served import ask
from tests.harness.errors import produces

JSON = {"content-type": "application/json"}


class Item(BaseModel):
    """What most endpoints here take or return."""

    id: int


async def post(app: FastAPI, **options: Any) -> str:
    """Post a body the way an HTTP client encodes it; status and text of the answer."""
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://api") as client:
        answer = await client.post("/", **options)
    return f"{answer.status_code} {answer.text}"


def taking_an_item(**options: Any) -> FastAPI:
    """An application whose endpoint takes an item and answers its id."""
    app = FastAPI(**options)

    @app.post("/")
    async def create(item: Item) -> int:
        return item.id

    return app


@produces("fastapi", '"msg":"JSON decode error"')
async def a_body_is_no_json(cured):
    """Python's quotes are not those of JSON."""
    body = b'{"id": 1}' if cured else b"{'id': 1}"
    answer = await ask(taking_an_item(), "/", "POST", headers=JSON, body=body)
    assert not cured or answer == "200 1"
    return answer


async def json_is_encoded_twice(cured):
    """A string of JSON is given where the client encodes itself."""
    answer = await post(taking_an_item(), json={"id": 1} if cured else '{"id": 1}')
    assert not cured or answer == "200 1"
    return answer


async def json_is_sent_without_its_type(cured):
    """The body is right, and the header that says so is missing."""
    app = taking_an_item(strict_content_type=False) if cured else taking_an_item()
    answer = await ask(app, "/", "POST", body=b'{"id": 1}')
    assert not cured or answer == "200 1"
    return answer


@produces(
    "fastapi",
    "Input should be a valid dictionary or object to extract fields from",
    where="fastapi>=0.132",
)
async def a_body_is_a_string(cured):
    """The model wants an object."""
    return await texts(cured, json_is_encoded_twice, json_is_sent_without_its_type)


@produces("fastapi", "There was an error parsing the body")
async def a_body_is_in_another_encoding(cured):
    """JSON is UTF-8, and this is Latin-1."""
    app = FastAPI()

    @app.post("/")
    async def create(name: Annotated[str, Body()]) -> int:
        return len(name)

    body = '"M\u00fcller"'.encode("utf-8" if cured else "latin-1")
    answer = await ask(app, "/", "POST", headers=JSON, body=body)
    assert not cured or answer == "200 6"
    return answer


@produces("fastapi", "Missing boundary in multipart.")
async def the_client_sets_the_type_of_a_form_itself(cured):
    """The header that the client would have written holds the boundary."""
    app = FastAPI()

    @app.post("/")
    async def store(file: UploadFile) -> int:
        return file.size or 0

    own = {} if cured else {"headers": {"content-type": "multipart/form-data"}}
    answer = await post(app, files={"file": ("a", b"abc")}, **own)
    assert not cured or answer == "200 3"
    return answer


async def the_endpoint_reads_a_form_with_a_large_field(cured):
    """Starlette's limit is an argument of the call that reads the form."""
    app, limit = FastAPI(), {"max_part_size": 2**21} if cured else {}

    @app.post("/")
    async def store(request: Request) -> int:
        async with request.form(**limit) as form:
            return len(str(form["text"]))

    text = "x" * (2**20 + 1)
    answer = await post(app, data={"text": text}, files={"file": ("a", b"abc")})
    assert not cured or answer == f"200 {len(text)}"
    return answer


async def a_text_field_of_a_form_is_large(cured):
    """The limit is for fields; a file has none."""
    app = FastAPI(form_limits={"max_part_size": 2**21}) if cured else FastAPI()

    @app.post("/")
    async def store(file: UploadFile, text: Annotated[str, Form()]) -> int:
        return len(text)

    text = "x" * (2**20 + 1)
    answer = await post(app, data={"text": text}, files={"file": ("a", b"abc")})
    assert not cured or answer == f"200 {len(text)}"
    return answer


@produces("fastapi", "Part exceeded maximum size of 1024KB.", where="fastapi>=0.165")
async def a_field_of_a_form_is_large(cured):
    """The limit is raised for one endpoint, or for all."""
    return await texts(
        cured, the_endpoint_reads_a_form_with_a_large_field, a_text_field_of_a_form_is_large
    )


@produces("fastapi", "RuntimeError: Stream consumed")
async def a_body_is_read_after_its_stream(cured):
    """What was streamed is not kept."""
    app = FastAPI()

    @app.post("/")
    async def create(request: Request) -> int:
        if cured:
            await request.body()
        async for _ in request.stream():
            pass
        return (await request.json())["id"]

    assert await ask(app, "/", "POST", body={"id": 1}) == "200 1"
