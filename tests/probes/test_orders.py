"""The example, whole: no probe finds anything in it, on either database."""

import asyncio
import importlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import ROOT
from tests.harness.probing import Limits, probed
from tests.probes.shop import Store

POST = 'POST /orders {"reference": "{{uuid}}", "lines": [{"sku": "a", "quantity": 1}]}'
REQUESTS = (POST, "GET /orders", "GET /orders/{{order}}", "GET /orders/{{order}}/quotes")
UNKNOWABLE = {  # what a request does not do, no probe can see
    ("POST /orders", "statements"),  # it reads no rows
    ("GET /orders", "commit"),  # these write nothing
    ("GET /orders/{{order}}", "commit"),
    ("GET /orders/{{order}}/quotes", "commit"),
    ("GET /orders", "inputs"),  # nor has it an input
}


@pytest.fixture
def example(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """The application as its documentation starts it, with a short drain."""
    monkeypatch.setenv("ORDERS_DATABASE_URL", store.url)
    monkeypatch.setenv("ORDERS_DRAIN_SECONDS", "0.3")
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    before = set(sys.modules)
    filters = {handler: handler.filters[:] for handler in logging.getLogger().handlers}
    try:
        asyncio.run(importlib.import_module("orders.database").create_tables())
        yield importlib.import_module("orders.main").create_app()
    finally:
        root = logging.getLogger()
        root.handlers[:] = filters  # the example's filter would speak in every later test
        for handler, own in filters.items():
            handler.filters[:] = own
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "orders":
                del sys.modules[name]


async def seed(app: object, state: dict[str, Any]) -> dict[str, object]:
    """Three orders with three lines, and the id of one of them."""
    database = sys.modules["orders.database"]
    async with state["sessions"].begin() as session:
        for number in range(3):
            lines = [database.Line(sku=sku, quantity=1) for sku in "abc"]
            order = database.Order(reference=f"seed {number}", lines=lines)
            session.add(order)
        await session.flush()
        return {"order": order.id}


@pytest.mark.parametrize("points", [4, pytest.param(200, marks=pytest.mark.slow)])
def test_no_probe_finds_anything(example: object, points: int) -> None:
    """Each says ok, or cannot tell of what a request does not do."""
    verdicts = probed(
        example,
        *REQUESTS,
        ready="/readyz",
        live="/livez",
        setup=seed,
        limits=Limits(settle=0.2, points=points),
    )

    said = {(e.request, e.probe, e.says, *e.evidence) for e in verdicts if e.verdict == "found"}
    untold = {(e.request, e.probe) for e in verdicts if e.verdict == "cannot-tell"}
    assert (said, untold) == (set(), UNKNOWABLE)
