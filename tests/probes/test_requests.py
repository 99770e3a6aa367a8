"""What becomes of a request that cannot be judged as it is, or that follows another one."""

import asyncio
import re
import subprocess
import sys

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse

from tests.harness import ROOT
from tests.harness.probing import judged, probed, told
from tests.probes.shop import LIST, nothing, shop, skus


@pytest.mark.filterwarnings("ignore")
def test_a_limit_of_requests_leaves_what_comes_after_it_untold() -> None:
    """A 429 is neither an answer to what went wrong nor what a cancel left behind."""
    app, sent = FastAPI(), []

    @app.get("/stock")
    async def stock(limit: int = 3) -> int:
        await asyncio.sleep(0)
        sent.append(limit)
        if len(sent) > 6:
            raise HTTPException(429)
        return limit

    verdicts = probed(app, "GET /stock?limit=3", wanted="loop cancel inputs")

    said = [(each.probe, each.verdict) for each in verdicts]
    assert said == [("loop", "ok"), ("cancel", "cannot-tell")]
    assert "429" in told(verdicts, "cancel")


def test_a_path_without_its_slash_is_no_request() -> None:
    """The redirect would be fine in every respect, and the endpoint is never reached."""
    app = FastAPI()
    app.get("/stock/")(nothing)

    verdicts = probed(app, LIST, wanted="loop")

    assert {each.probe for each in verdicts} == {"request"}
    assert "the path has to be /stock/" in told(verdicts, "request")


def test_what_a_request_is_sent_on_to_is_said_not_to_be_looked_at() -> None:
    """A login page, or the first set-up: the endpoint itself may not have run."""
    app = FastAPI()

    @app.get("/stock")
    async def stock() -> RedirectResponse:
        return RedirectResponse("/login")

    verdicts = probed(app, LIST, wanted="loop")

    assert "is answered 307, and sent to /login" in told(verdicts, "request")
    assert judged(verdicts, "loop") == {"ok"}


def test_an_error_is_told_with_the_line_that_it_came_through() -> None:
    """The request fails in the user's code: a status and a type would leave him to search."""
    app = FastAPI()

    @app.get("/stock")
    async def stock() -> None:
        int("a")

    verdicts = probed(app, LIST, wanted="loop")

    assert re.search(r"test_requests\.py:\d+ stock", told(verdicts, "request"))


def test_a_restart_of_one_request_does_not_spoil_the_next(postgres_shop) -> None:
    """A pool without pre_ping replaces what the restart has closed one request at a time."""
    app = shop(postgres_shop.url)

    @app.get("/stock")
    async def stock(request: Request) -> None:
        connections = [request.state.engine.connect() for _ in range(5)]
        for connection in connections:
            await connection.start()
        for connection in connections:
            await connection.close()

    app.get("/all")(skus)

    verdicts = probed(app, LIST, "GET /all", wanted="checkouts dials restart")

    last = {each.probe: each.verdict for each in verdicts if each.request == "GET /all"}
    assert (last["checkouts"], last["dials"]) == ("ok", "ok"), verdicts


def test_numbers_of_two_runs_have_nothing_in_common() -> None:
    """The second one would meet the rows of the first where a column is unique."""
    code = "import sys; sys.path.insert(0, 'scripts/probes/core')\n"
    code += "import requests; print(next(requests._numbers))"
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for _ in range(2)
    ]

    first, second = (int(each.stdout) for each in runs)
    assert abs(first - second) > 1000
    assert max(first, second) < 2**31 - 10**6, "an integer column holds no more"


def test_a_body_that_is_no_json_is_said_to_be_none() -> None:
    """What the application says of it is not always that plain."""
    app = FastAPI()

    @app.post("/stock")
    async def stock() -> None:
        raise HTTPException(422)

    verdicts = probed(app, 'POST /stock {"a": 1', wanted="loop")

    assert "its body is no JSON: Expecting ',' delimiter" in told(verdicts, "request")
