"""Texts of settings and of Pydantic models around a service."""

import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tests.errors.fastapi.served import ask
from tests.harness.errors import produces
from tests.harness.record import told


def raised(work: Callable[[], object]) -> str:
    """The error of a call, or nothing."""
    try:
        work()
    except Exception as error:
        return told(error)
    return ""


@produces("fastapi", "Extra inputs are not permitted")
async def more_is_given_than_was_named(cured, tmp_path):
    """The env file has a name of another program, and a client one that the model forbids."""
    app = FastAPI()
    (tmp_path / ".env").write_text("url=postgresql://db\npostgres_password=hunter2\n")
    more = {"extra": "ignore", "hide_input_in_errors": True} if cured else {}

    class Settings(BaseSettings):
        model_config = SettingsConfigDict(env_file=tmp_path / ".env", **more)

        url: str

    class Item(BaseModel):
        model_config = ConfigDict(extra="ignore" if cured else "forbid")

        id: int

    @app.post("/")
    async def create(item: Item) -> int:
        return item.id

    answer = await ask(app, "/", "POST", body={"id": 1, "colour": "red"})
    if cured:
        assert (answer, Settings().url) == ("200 1", "postgresql://db")
        return ""
    assert "Extra inputs" in answer
    return raised(Settings)


@produces("fastapi", "Field required [type=missing")
def the_env_file_is_looked_for_elsewhere(cured, tmp_path, monkeypatch):
    """A relative path starts at the working directory, and a missing file is no error."""
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://db\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    class Settings(BaseSettings):
        model_config = SettingsConfigDict(env_file=tmp_path / ".env" if cured else ".env")

        database_url: str

    assert Settings().database_url == "postgresql://db"


@produces("fastapi", "unable to parse string as an integer")
async def a_number_is_none(cured, monkeypatch):
    """A variable is set to nothing, and a word reaches the route of a number."""
    app = FastAPI()
    monkeypatch.setenv("POOL_SIZE", "")

    class Settings(BaseSettings):
        model_config = SettingsConfigDict(env_ignore_empty=cured)

        pool_size: int = 5

    async def mine() -> str:
        return "me"

    async def one(item_id: int) -> int:
        return item_id

    routes = [("/items/{item_id}", one), ("/items/me", mine)]
    for path, endpoint in reversed(routes) if cured else routes:
        app.get(path)(endpoint)

    answer = await ask(app, "/items/me")
    if cured:
        assert (answer, Settings().pool_size) == ('200 "me"', 5)
        return ""
    assert "unable to parse" in answer
    return raised(Settings)


@produces("fastapi", "has been moved to the")
def settings_are_imported_from_pydantic(cured):
    """Pydantic 2 has them in a package of their own."""
    if cured:
        from pydantic_settings import BaseSettings
    else:
        from pydantic import BaseSettings

    assert issubclass(BaseSettings, BaseModel)


@produces("fastapi", "is deprecated, use ConfigDict instead")
def a_model_has_an_inner_config(cured):
    """The way of Pydantic 1 still works, with a warning."""
    warnings.simplefilter("always")
    if cured:

        class Item(BaseModel):
            model_config = ConfigDict(frozen=True)
    else:

        class Item(BaseModel):
            class Config:
                frozen = True

    assert Item.model_config["frozen"]


class Row:
    """A row as an ORM gives it: values as attributes."""

    id = 1


@produces("fastapi", "You must set the config attribute")
def a_row_is_read_as_pydantic_1_did(cured):
    """The old method wants the new setting."""

    class Item(BaseModel):
        model_config = ConfigDict(from_attributes=cured)

        id: int

    read = Item.model_validate if cured else Item.from_orm
    assert read(Row()).id == 1


@produces("fastapi", "Unable to generate pydantic-core schema for")
def a_model_holds_a_client(cured):
    """A class that Pydantic does not know is a field's type."""

    class Client: ...

    class Job(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=cured)

        client: Client

    assert Job(client=Client())


POSTPONED = """
from __future__ import annotations
from typing import TYPE_CHECKING
from fastapi import FastAPI
from pydantic import BaseModel

if {guard}:
    from decimal import Decimal

app = FastAPI()

class Item(BaseModel):
    price: Decimal

@app.get("/")
async def double(amount: Decimal) -> str:
    return str(amount * 2)
"""


@produces("fastapi", "is not fully defined; you should define")
async def a_type_is_imported_for_the_type_checker(cured, monkeypatch):
    """Neither a model nor FastAPI's documentation finds the name at run time."""
    module = ModuleType("postponed_service")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(POSTPONED.format(guard="True" if cured else "TYPE_CHECKING"), vars(module))  # noqa: S102
    text = "\n".join(map(raised, (lambda: module.Item(price=1), module.app.openapi)))
    assert not cured or await ask(module.app, "/?amount=4.5") == '200 "9.0"'
    return text


@produces("fastapi", "error parsing value for field")
def a_list_is_separated_by_commas(cured, monkeypatch):
    """A list is read as JSON; the cure splits it."""
    monkeypatch.setenv("ORIGINS", "https://a.example,https://b.example")

    class Settings(BaseSettings):
        origins: Annotated[list[str], NoDecode] if cured else list[str]

        @field_validator("origins", mode="before")
        @classmethod
        def split(cls, value: object) -> object:
            return value.split(",") if isinstance(value, str) else value

    assert Settings().origins == ["https://a.example", "https://b.example"]


@produces("fastapi", "field required (type=value_error.missing", where="python<3.14")
def a_setting_of_pydantic_1_is_missing(cured, monkeypatch):
    """Nothing in the environment has the name that `env=` gives; the cure sets it."""
    from pydantic import v1  # it warns on Python 3.14

    class Settings(v1.BaseSettings):
        database_url: str = v1.Field(..., env="DATABASE_URL")

        class Config:
            env_prefix = "app_"

    if cured:
        monkeypatch.setenv("DATABASE_URL", "postgresql://db")
    Settings()
