"""The session of rules/pooling/http.md where it lives: in a uvicorn that is told to stop."""

import asyncio

import httpx2
import pytest

from tests.harness import correct
from tests.harness.judge import run
from tests.observers.waiting import until
from tests.servers.http import Answer, CountingServer
from tests.servers.uvicorn import source_of, uvicorn

PAGE = "pooling/http"
APP = """
from typing import Annotated
from fastapi import Depends

app = FastAPI(lifespan=lifespan)

@app.get("/{path}")
async def relay(path: str, http: Annotated[Any, Depends(get_http)]) -> str:
    async with http.get(f"UPSTREAM/{path}") as response:
        return await response.text()
"""


@pytest.mark.slow
def test_a_call_in_flight_survives_the_shutdown():
    """The request under way is answered after SIGTERM, and nothing is left unclosed."""
    run(stopped_during_a_call, 40)


async def stopped_during_a_call():
    release = asyncio.Event()

    async def script(seen):
        if seen.path == "/slow":
            await release.wait()
        return Answer()

    async with CountingServer(script) as upstream:
        half = correct(PAGE, "one-bounded-session-per-process")
        source = source_of(half) + APP.replace("UPSTREAM", upstream.url)
        patient = source.replace("TOTAL, SERVER_IDLE = 4.0", "TOTAL, SERVER_IDLE = 40.0")
        assert patient != source
        async with (
            uvicorn(patient, env={"PYTHONWARNINGS": "default"}) as server,
            httpx2.AsyncClient(trust_env=False, timeout=30) as client,
        ):
            for _ in range(3):
                assert (await client.get(f"{server.url}/quick")).json() == "ok"
            assert upstream.connections == 1

            slow = asyncio.create_task(client.get(f"{server.url}/slow"))
            assert await until(lambda: upstream.seen("/slow") == 1, limit=10)
            server.terminate()
            assert await server.logged("Shutting down")
            release.set()

            assert (await slow).json() == "ok"
            assert await server.stopped()
            assert "Application shutdown complete" in server.log()
            assert "Unclosed" not in server.log()
