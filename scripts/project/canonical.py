"""Names that some libraries offer in several places, by the one that checks use."""

SQLALCHEMY = "sqlalchemy.ext.asyncio"
CANONICAL = {
    "fastapi.params.Depends": "fastapi.Depends",
    "fastapi.param_functions.Depends": "fastapi.Depends",
    "fastapi.param_functions.Security": "fastapi.Security",
    "fastapi.applications.FastAPI": "fastapi.FastAPI",
    "fastapi.routing.APIRouter": "fastapi.APIRouter",
    "fastapi.exceptions.HTTPException": "fastapi.HTTPException",
    "fastapi.background.BackgroundTasks": "fastapi.BackgroundTasks",
    "fastapi.datastructures.UploadFile": "fastapi.UploadFile",
    "fastapi.requests.Request": "fastapi.Request",
    "starlette.requests.Request": "fastapi.Request",
    "fastapi.websockets.WebSocket": "fastapi.WebSocket",
    "starlette.websockets.WebSocket": "fastapi.WebSocket",
    "fastapi.websockets.WebSocketDisconnect": "fastapi.WebSocketDisconnect",
    "starlette.websockets.WebSocketDisconnect": "fastapi.WebSocketDisconnect",
    "fastapi.middleware.Middleware": "starlette.middleware.Middleware",
    "fastapi.middleware.cors.CORSMiddleware": "starlette.middleware.cors.CORSMiddleware",
    "fastapi.middleware.base.BaseHTTPMiddleware": "starlette.middleware.base.BaseHTTPMiddleware",
    "fastapi.responses.StreamingResponse": "starlette.responses.StreamingResponse",
    "asyncio.exceptions.CancelledError": "asyncio.CancelledError",
    "concurrent.futures.CancelledError": "concurrent.futures.CancelledError",
    "asyncio.exceptions.TimeoutError": "builtins.TimeoutError",
    "asyncio.TimeoutError": "builtins.TimeoutError",
    "asyncio.tasks.create_task": "asyncio.create_task",
    "sqlalchemy.ext.asyncio.session.AsyncSession": "sqlalchemy.ext.asyncio.AsyncSession",
    "sqlmodel.ext.asyncio.session.AsyncSession": "sqlalchemy.ext.asyncio.AsyncSession",
    f"{SQLALCHEMY}.session.async_sessionmaker": f"{SQLALCHEMY}.async_sessionmaker",
    "sqlalchemy.ext.asyncio.engine.AsyncEngine": "sqlalchemy.ext.asyncio.AsyncEngine",
    f"{SQLALCHEMY}.engine.create_async_engine": f"{SQLALCHEMY}.create_async_engine",
    "sqlalchemy.orm.session.sessionmaker": "sqlalchemy.orm.sessionmaker",
    "asyncpg.pool.Pool": "asyncpg.Pool",
    "asyncpg.pool.create_pool": "asyncpg.create_pool",
    "aiohttp.client.ClientSession": "aiohttp.ClientSession",
    "aiohttp.client.ClientTimeout": "aiohttp.ClientTimeout",
    "aiohttp.connector.TCPConnector": "aiohttp.TCPConnector",
    "sqlmodel.Field": "sqlmodel.Field",
    "sqlmodel.select": "sqlalchemy.select",
    "sqlalchemy.sql.text": "sqlalchemy.text",
    "sqlalchemy.sql.expression.text": "sqlalchemy.text",
    "sqlalchemy.future.select": "sqlalchemy.select",
}
CANONICAL |= {
    f"aiohttp.client_exceptions.{name}": f"aiohttp.{name}"
    for name in ("ClientError", "ClientConnectionError", "ClientOSError", "ClientPayloadError")
}
