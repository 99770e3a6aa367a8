"""The handlers that everything is compared with: Starlette, asyncpg, JSON, and nothing else."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ORDER = "SELECT * FROM orders WHERE id = $1"
LINES = "SELECT sku, quantity FROM lines WHERE order_id = $1 ORDER BY id"
PAGE = "SELECT * FROM orders ORDER BY placed, id LIMIT 20"
PAGE_LINES = "SELECT order_id, sku, quantity FROM lines WHERE order_id = ANY($1) ORDER BY id"
INSERT = """
    INSERT INTO orders (id, reference, repeats, placed) VALUES ($1, $2, 0, now()) RETURNING *
"""
INSERT_LINES = """
    INSERT INTO lines (order_id, sku, quantity) SELECT $1, * FROM unnest($2::text[], $3::int[])
"""


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    size = int(os.environ["ORDERS_POOL_SIZE"])
    async with asyncpg.create_pool(
        os.environ["POSTGRES_URL"], min_size=size, max_size=size
    ) as pool:
        yield {"pool": pool}


def document(order: Any, lines: Any) -> dict[str, Any]:
    return {
        "reference": order["reference"],
        "lines": [{"sku": line["sku"], "quantity": line["quantity"]} for line in lines],
        "id": str(order["id"]),
        "repeats": order["repeats"],
        "placed": order["placed"].isoformat().replace("+00:00", "Z"),
        "edited": order["edited"].isoformat().replace("+00:00", "Z"),
    }


def answer(content: Any, status: int = 200) -> Response:
    body = json.dumps(content, separators=(",", ":"))
    return Response(body, status, media_type="application/json")


async def read_order(request: Request) -> Response:
    key = UUID(request.path_params["key"])
    async with request.state.pool.acquire() as connection:
        order = await connection.fetchrow(ORDER, key)
        lines = await connection.fetch(LINES, key)
    return answer(document(order, lines))


async def list_orders(request: Request) -> Response:
    async with request.state.pool.acquire() as connection:
        orders = await connection.fetch(PAGE)
        rows = await connection.fetch(PAGE_LINES, [order["id"] for order in orders])
    lines: dict[UUID, list[Any]] = {}
    for row in rows:
        lines.setdefault(row["order_id"], []).append(row)
    return answer([document(order, lines[order["id"]]) for order in orders])


async def place_order(request: Request) -> Response:
    new, key = await request.json(), uuid4()
    columns = [[line[name] for line in new["lines"]] for name in ("sku", "quantity")]
    async with request.state.pool.acquire() as connection, connection.transaction():
        order = await connection.fetchrow(INSERT, key, new["reference"])
        await connection.execute(INSERT_LINES, key, *columns)
    return answer(document(order, new["lines"]), 201)


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/orders/{key}", read_order),
        Route("/orders", list_orders),
        Route("/orders", place_order, methods=["POST"]),
    ],
)
