"""What our tools and the code that the rules teach cost, each against something in the same run.

`python -m benchmarks`, from a checkout: each variant answers the same bytes; what it costs is the
CPU of the server process a request, as a ratio to a bare Starlette + asyncpg handler, and its round
trips to PostgreSQL, which is the tests' own or that of DATABASE_URL.
`python -m benchmarks.review_speed`: how long scripts/review.py takes.
"""
