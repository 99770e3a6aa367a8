"""How the rule on middleware is known: what uvicorn believes of a proxy."""

import asyncio

import pytest

from tests.harness import confirms
from tests.servers.uvicorn import uvicorn

SERVICE = """
from fastapi import FastAPI, Request

app = FastAPI()

@app.get("/items/")
async def items(request: Request):
    return request.client.host
"""

PROXY = "127.0.0.2"  # any address of loopback but the one that is trusted by default
FORWARDED = (
    "X-Forwarded-Proto: https\r\nX-Forwarded-For: 6.6.6.6, 203.0.113.9\r\n"
    "X-Forwarded-Host: shop.example\r\nX-Forwarded-Port: 8443\r\n"
)


async def told(*options: str) -> tuple[str, str]:
    """Where a redirect leads and who the client is, to a request that comes through the proxy.

    The client wrote 6.6.6.6 itself; the proxy added 203.0.113.9, which it had the request from.
    """
    async with uvicorn(SERVICE, *options) as server:

        async def ask(path: str) -> str:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, local_addr=(PROXY, 0)
            )
            head = f"GET {path} HTTP/1.1\r\nHost: api.example\r\n{FORWARDED}"
            writer.write(f"{head}Connection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
            return answer.decode()

        redirect, answer = await ask("/items"), await ask("/items/")
    location = next(each for each in redirect.splitlines() if each.startswith("location: "))
    return location.removeprefix("location: "), answer.rpartition("\r\n\r\n")[2].strip('"')


@pytest.mark.slow
@confirms("fastapi/middleware", "behind-a-proxy", limit=60)
async def a_proxy_is_believed_by_its_address_and_a_client_by_an_asterisk():
    """By default neither scheme nor client of the request get through, and the host never."""
    default, named, anybody = await asyncio.gather(
        told(),
        told("--forwarded-allow-ips", PROXY),
        told("--forwarded-allow-ips", "*"),
    )

    assert default == ("http://api.example/items/", PROXY)
    assert named == ("https://api.example/items/", "203.0.113.9")
    assert anybody == ("https://api.example/items/", "6.6.6.6")
