"""What the taught code costs: `python -m benchmarks`, from a checkout.

Each variant answers the same bytes; what it costs is the CPU of the server process a request, as a
ratio to a bare Starlette + asyncpg handler measured in the same rounds, and its round trips to
PostgreSQL, which is the tests' own or that of DATABASE_URL.
"""
