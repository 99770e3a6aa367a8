"""How releases are ordered, and what differs between those the rules speak about.

A fact is true of the versions it names and was shown by the test it names. Its trap is a bullet,
a note on versions or a pair of a rule, or an entry of the error index (`errors/category#slug`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

VERSION = re.compile(
    r"v?(?:(?P<epoch>\d{1,18})!)?(?P<release>\d{1,18}(?:\.\d{1,18})*)"
    r"(?:[-_.]?(?P<pre>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<pre_number>\d{1,18})?)?"
    r"(?:-(?P<bare>\d{1,18})|[-_.]?(?P<post>post|rev|r)[-_.]?(?P<post_number>\d{1,18})?)?"
    r"(?:[-_.]?(?P<dev>dev)[-_.]?(?P<dev_number>\d{1,18})?)?"
    r"(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?",
    re.IGNORECASE | re.ASCII,
)
PHASES = {"a": 0, "alpha": 0, "b": 1, "beta": 1}  # every other name means rc
PYTHONS = ("3.11", "3.12", "3.13", "3.14")  # the slow tests run the proofs on each

Key = tuple[object, ...]


def version_key(text: str) -> Key | None:
    """What orders versions as PEP 440 does; None for a text that is no version."""
    match = VERSION.fullmatch(text.strip())
    if match is None:
        return None
    release = [int(part) for part in match["release"].split(".")]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    after = match["post"] or match["bare"]
    if match["pre"]:
        phase = (PHASES.get(match["pre"].lower(), 2), int(match["pre_number"] or 0))
    else:
        phase = (-1, 0) if match["dev"] and not after else (3, 0)
    post = int(match["bare"] or match["post_number"] or 0) if after else -1
    dev = (0, int(match["dev_number"] or 0)) if match["dev"] else (1, 0)
    local = tuple(
        (1, int(part), "") if part.isdigit() else (0, 0, part)
        for part in re.split(r"[-_.]", (match["local"] or "").lower())
        if part
    )
    return int(match["epoch"] or 0), tuple(release), phase, post, dev, local


def public(version: str) -> Key | None:
    """What orders a version without its local part, which says who built it."""
    return version_key(version.partition("+")[0]) if version_key(version) else None


def older(version: str, other: str) -> bool:
    """Whether a version comes before another; False where one of them is no version."""
    key, bound = public(version), public(other)
    return key is not None and bound is not None and key < bound


def within(version: str, versions: str) -> bool:
    """Whether a version lies in `>=a`, `<b` or both, comma between; a pre-release of b does not."""
    key = public(version)
    if key is None:
        return False
    for each in filter(None, versions.split(",")):
        bound = version_key(each.lstrip("<>=") + ".dev0")
        if bound is None or (key < bound) is not each.startswith("<"):
            return False
    return True


def lowest_python(spec: str) -> str | None:
    """The lowest version a range allows, such as `>=3.11,<4` or Poetry's `^3.11`, if it says so."""
    lowest = []
    for choice in spec.split("||"):
        bounds = re.findall(r"(?:(<=?|!=)|>=?|\^|~=?|={2,3})?\s*v?(\d+(?:\.\d+)*)", choice)
        lower = [version for refused, version in bounds if not refused]
        if not lower:
            return None
        lowest.append(max(lower, key=lambda each: version_key(each) or ()))
    return min(lowest, key=lambda each: version_key(each) or ()) if lowest else None


@dataclass(frozen=True)
class Fact:
    """What bites on some versions of a package, in a clause that follows their names.

    It needs one of `beside` to be locked too, and `without` not to be.
    """

    package: str
    versions: str
    trap: str
    because: str
    test: str
    beside: tuple[str, ...] = ()
    without: str = ""

    @property
    def of_the_lock(self) -> bool:
        """Whether it is about what is locked together, so that no upgrade ends it."""
        return bool(self.without) or not self.versions

    def bites(self, versions: Iterable[str]) -> list[str]:
        """Those of the versions that it is true of."""
        return [each for each in versions if within(each, self.versions)]


ERAS = "tests/rules/fastapi/test_eras.py::"
EXIT_ORDER = ERAS + "test_the_order_of_exit_and_response_is_that_of_its_era"
CANCELS = "tests/rules/asyncio/test_cancellation_versions.py::"
ASYNCPG = "tests/rules/pooling/test_database_versions.py::"

FACTS = (
    Fact(
        "python",
        ">=3.11,<3.13",
        "asyncio/cancellation#3-11-and-3-12-lose-cancels",
        "after `except*` a task goes on although it was cancelled, if a child's cleanup failed",
        CANCELS + "a_cancel_is_lost_when_a_childs_cleanup_fails",
    ),
    Fact(
        "python",
        ">=3.11,<3.12",
        "asyncio/cancellation#3-11-and-3-12-lose-cancels",
        "`wait_for` loses a cancel that comes in the turn its awaitable ends",
        CANCELS + "wait_for_loses_a_cancel_of_the_turn_it_ends_in",
    ),
    Fact(
        "python",
        ">=3.11,<3.12",
        "asyncio/structured-concurrency#finding-the-blocking-call",
        "under uvicorn PYTHONASYNCIODEBUG=1 reports no blocking call",
        "tests/rules/asyncio/test_structured_concurrency_detect.py"
        "::uvicorn_on_3_11_needs_set_debug_and_names_its_own_coroutine",
    ),
    Fact(
        "python",
        ">=3.11,<3.13",
        "asyncio/structured-concurrency#queue-shutdown-needs-3-13",
        "there is no `Queue.shutdown`; workers end by a None each",
        "tests/rules/asyncio/test_structured_concurrency_traps.py"
        "::a_queue_can_be_shut_down_from_3_13",
    ),
    Fact(
        "python",
        ">=3.13",
        "pooling/http#ca-without-keyusage",
        "a private CA without keyUsage is refused: `CA cert does not include key usage extension`",
        "tests/rules/pooling/test_http_tls.py::the_connector_of_the_page_meets_an_ordinary_ca",
    ),
    Fact(
        "fastapi",
        "<0.106",
        "fastapi/dependencies#one-session-alias",
        "a commit after `yield` comes after the response, so the client reads 201 for a COMMIT "
        'that failed, and Depends has no `scope="function"` to prevent it',
        EXIT_ORDER,
    ),
    Fact(
        "fastapi",
        ">=0.118,<0.121",
        "fastapi/dependencies#one-session-alias",
        'Depends has no `scope="function"`, so no commit after `yield` comes before the response',
        EXIT_ORDER,
    ),
    Fact(
        "fastapi",
        ">=0.118",
        "fastapi/dependencies#one-session-alias",
        "with a commit after `yield` in the default scope the client reads 201 for a COMMIT that "
        "failed",
        EXIT_ORDER,
    ),
    Fact(
        "fastapi",
        "<0.144",
        "fastapi/dependencies#tokens-from-browsers",
        "OAuth2PasswordBearer fails on a WebSocket: the handshake is answered by 500",
        ERAS + "a_socket_behind_a_real_server_is_let_in_by_its_header",
    ),
    Fact(
        "fastapi",
        ">=0.137",
        "fastapi/middleware#route-prefixes",
        '`scope["route"].path` lacks the prefix of `include_router`: /v1 and /v2 merge',
        "tests/rules/fastapi/test_middleware_log.py::a_route_lost_the_prefix_of_its_router",
    ),
    Fact(
        "starlette",
        "<1.3",
        "fastapi/middleware#httpexception-in-a-middleware",
        "what a BaseHTTPMiddleware raises is logged inside `unhandled errors in a TaskGroup`",
        "tests/rules/fastapi/test_middleware_traps.py"
        "::no_handler_of_its_own_hears_an_exception_of_a_middleware",
    ),
    Fact(
        "sqlalchemy",
        ">=2.0,<2.1",
        "pooling/tuning#failed-connects-on-2-0",
        "a connect that the server refuses raises asyncpg's error, past `except DBAPIError`",
        "tests/rules/pooling/test_tuning_traps.py::a_failed_connect_is_wrapped_since_2_1",
        beside=("asyncpg",),
    ),
    Fact(
        "sqlalchemy",
        ">=2.1",
        "sqlalchemy/sessions#plain-url-on-2-1",
        "`postgresql://` silently means psycopg: for asyncpg write `postgresql+asyncpg://`",
        "tests/rules/sqlalchemy/test_sessions_versions.py::a_url_without_a_driver_means_psycopg",
        beside=("asyncpg",),
    ),
    Fact(
        "sqlalchemy",
        ">=2.1",
        "errors/sqlalchemy#requires-that-the-python-greenlet-library",
        "greenlet is not locked, so `import sqlalchemy.ext.asyncio` fails: require "
        "`sqlalchemy[asyncio]`",
        "tests/errors/sqlalchemy/test_sessions_queries.py::greenlet_is_not_installed",
        beside=("asyncpg", "aiosqlite"),
        without="greenlet",
    ),
    Fact(
        "asyncpg",
        "<0.32",
        "pooling/database#asyncpg-0-30-and-0-31",
        "behind PgBouncer with `statement_cache_size` 0 alone, queries, on 0.31 streamed ones, get "
        "another statement's rows",
        ASYNCPG + "the_cache_size_alone_is_not_enough",
    ),
    Fact(
        "asyncpg",
        "<0.32",
        "pooling/database#asyncpg-0-30-and-0-31",
        "`command_timeout` ends no query on a silent link",
        ASYNCPG + "command_timeout_does_not_end_a_query_on_a_silent_link",
    ),
    Fact(
        "asyncpg",
        "<0.32",
        "pooling/database#asyncpg-0-30-and-0-31",
        "idle connections of asyncpg's pool close below `min_size`",
        ASYNCPG + "idle_connections_close_below_the_floor",
    ),
    Fact(
        "aiohttp",
        "<3.14.4",
        "pooling/http#streams-before-aiohttp-3-14-4",
        "when a connection breaks, a PUT of a generator is repeated with an empty body",
        "tests/rules/pooling/test_http_bodies.py::a_broken_connection_empties_a_generator",
    ),
    Fact(
        "aiohttp",
        "<3.12",
        "pooling/http#retries-in-two-layers",
        "ClientSession takes no `middlewares`: TypeError",
        "tests/rules/pooling/test_http_layers.py::middleware_needs_aiohttp_3_12",
    ),
    Fact(
        "procrastinate",
        "<3.8",
        "fastapi/lifespan#queue-the-job-with-its-row",
        "`connection=` is ignored, so the job is kept when the row's transaction rolls back",
        "tests/rules/fastapi/test_lifespan_queue.py"
        "::test_a_job_survives_a_rollback_unless_it_shares_the_connection",
    ),
    Fact(
        "httpx",
        "",
        "pooling/http#httpx-and-httpx2",
        "is locked beside httpx2: `except httpx.HTTPError` misses the errors of httpx2",
        "tests/rules/pooling/test_http_layers.py::neither_catches_the_others_errors",
        beside=("httpx2",),
    ),
)
