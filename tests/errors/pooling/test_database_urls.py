"""Texts of engines that cannot be made, and of servers that cannot be reached."""

import os
import socket

import psycopg
import pytest
from pydantic import PostgresDsn
from sqlalchemy import URL, NullPool, create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from tests.errors.pooling.engines import engine_of
from tests.harness.errors import produces
from tests.servers.ports import free_port

FILE = "sqlite+aiosqlite:///shop.db"
SIGNS = "se@cret"  # a password that a URL holds only when it is escaped


async def ask(database, **options):
    """Connect, and send one statement."""
    async with engine_of(database, **options) as engine, engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


@produces("pooling", "unexpected keyword argument 'sslmode'")
async def libpq_s_parameter_is_in_the_url(postgres_database, cured):
    """A URL for libpq is given to asyncpg by SQLAlchemy."""
    parameter = "ssl=prefer" if cured else "sslmode=prefer"
    await ask(f"{postgres_database.asyncpg}?{parameter}")


@pytest.mark.parametrize("name", ["postgres", "postgres+asyncpg"])
@produces("pooling", "Can't load plugin: sqlalchemy.dialects:postgres")
async def a_provider_says_postgres(postgres_database, cured, name):
    """The URL begins with `postgres`, as libpq takes it."""
    url = postgres_database.asyncpg.replace("postgresql+asyncpg", name, 1)
    await ask(url.replace(f"{name}://", "postgresql+asyncpg://", 1) if cured else url)


@produces("pooling", "Connect call failed")
async def nobody_listens(postgres_database, cured):
    """The port is one where no server listens."""
    url = make_url(postgres_database.asyncpg)
    await ask((url if cured else url.set(port=free_port())).render_as_string(hide_password=False))


@produces("pooling", "Is the server running on that host and accepting TCP/IP connections?")
async def nobody_listens_for_libpq(postgres_database, cured):
    """The port is one where no server listens, and the driver is psycopg."""
    port = {} if cured else {"port": free_port()}
    async with await psycopg.AsyncConnection.connect(postgres_database.url, **port) as connection:
        await connection.execute("SELECT 1")


@produces("pooling", "Name or service not known")
async def a_host_has_no_address(postgres_database, cured):
    """A password with `@` in it was written into the URL as it is, and its end became the host."""
    url = make_url(postgres_database.asyncpg)
    if cured:
        await ask(url.set(password=SIGNS).render_as_string(hide_password=False))
        return
    try:
        address = f"{url.host}:{url.port}/{url.database}"
        await ask(f"postgresql+asyncpg://{url.username}:{SIGNS}@{address}")
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            pytest.skip("no name server answers here")
        raise


@produces("pooling", "rejected SSL upgrade")
async def a_server_has_no_tls(postgres_database, cured):
    """TLS is demanded of a local server that has none."""
    await ask(postgres_database, connect_args={"ssl": "prefer" if cured else "require"})


@produces("pooling", 'root.crt" does not exist or cannot be accessed')
async def an_authority_is_not_there(postgres_database, monkeypatch):
    """`verify-full` looks for an authority's file in the home folder, where none is."""
    monkeypatch.setenv("HOME", "/nowhere")
    await ask(postgres_database, connect_args={"ssl": "verify-full"})


@produces("pooling", 'InvalidCatalogNameError: database "')
async def a_database_is_not_there(postgres_database, cured):
    """The URL names a database that nobody has created."""
    await ask(postgres_database if cured else postgres_database.named("no_such_shop"))


@produces("pooling", 'InvalidAuthorizationSpecificationError: role "')
async def a_role_is_not_there(postgres_database, cured):
    """The URL names a role that nobody has created."""
    url = make_url(postgres_database.asyncpg)
    role = url.username if cured else "no_such_role"
    await ask(url.set(username=role).render_as_string(hide_password=False))


@produces("pooling", "The asyncio extension requires an async driver to be used")
def a_driver_is_not_async(cured):
    """The URL names a synchronous driver."""
    create_async_engine(FILE if cured else "sqlite:///shop.db")


@produces("pooling", "No module named 'psycopg2'")
def a_driver_is_not_installed(cured):
    """A URL names the driver that used to be the default one."""
    create_engine(f"postgresql+{'psycopg' if cured else 'psycopg2'}://app@localhost/shop")


@produces("pooling", "Could not parse SQLAlchemy URL from")
def a_url_is_empty(cured):
    """The variable that should hold the URL is not set."""
    create_async_engine("postgresql+asyncpg://app@localhost/shop" if cured else "")


@produces("pooling", "invalid literal for int() with base 10: 'None'")
def a_port_is_not_set(cured):
    """A URL is put together from variables, one of which is not set."""
    port = os.environ.get("SHOP_DATABASE_PORT")
    if cured:
        made = URL.create("postgresql+asyncpg", "app", SIGNS, "localhost", None, "shop")
        assert make_url(made.render_as_string(hide_password=False)).password == SIGNS
        create_async_engine(made)
    else:
        create_async_engine(f"postgresql+asyncpg://app:secret@localhost:{port}/shop")


@produces("pooling", "Expected string or URL object, got")
def a_url_is_an_object_of_pydantic(cured):
    """A setting of type PostgresDsn is passed on as it is."""
    url = PostgresDsn("postgresql+asyncpg://app@localhost/shop")
    create_async_engine(str(url) if cured else url)


@produces("pooling", "Pool class QueuePool cannot be used with asyncio engine")
def a_pool_is_of_a_synchronous_engine(cured):
    """The pool's class was kept from a synchronous engine."""
    create_async_engine(FILE, poolclass=AsyncAdaptedQueuePool if cured else QueuePool)


@produces("pooling", "sent to create_engine(), using configuration")
def options_are_of_another_pool(cured):
    """The tests' engine gets the options of production, and a pool that has no size."""
    size = {} if cured else {"pool_size": 5, "max_overflow": 0}
    create_async_engine("postgresql+asyncpg://app@localhost/shop", poolclass=NullPool, **size)
