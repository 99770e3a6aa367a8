"""What can be seen in code of rules/pooling/http.md."""

import ast
import re
from collections.abc import Iterator

from checks import Report, check
from project.module import Module, function_of, keyword, spreads
from subjects.answers import caught_alone, repeated, reused_bodies, unread
from subjects.clients import (
    AIOHTTP,
    HTTPX,
    is_plain_http,
    opened,
    requests_in,
    verifies_nothing,
)
from subjects.distributions import is_script

LINES = re.compile(rb"async for .+ in \S+\.content\b")
STREAMS = (b"StreamingResponse", b"StreamResponse", b"iter_chunked", b"iter_any", b"ws_connect")
KEYS = ("api-key", "apikey", "x-auth", "token")


@check("Session(")
def one_bounded_session_per_process(module: Module) -> Iterator[Report]:
    """A session of aiohttp that lives as long as a request or a call."""
    for call in module.calls(AIOHTTP):
        yield from _per_call(module, call, "connects anew and shares no limit")


@check("httpx", "Client(")
def asyncclient_per_call(module: Module) -> Iterator[Report]:
    """A client of httpx or httpx2 that lives as long as a request or a call."""
    for call in module.calls(*HTTPX):
        yield from _per_call(module, call, "loads the CAs while the event loop stands still")


def _per_call(module: Module, call: ast.Call, cost: str) -> Iterator[Report]:
    often = opened(module, call)
    if often is None:
        return
    what = ast.unparse(call.func)
    each = "request" if often == "request" else "call"
    yield Report(
        call,
        f"each {each} makes its own `{what}`, which {cost}",
        f"open `{_short(call)}` once, in the lifespan, and take it here as a parameter",
        hint=often == "perhaps",
    )


def _short(call: ast.Call) -> str:
    text = ast.unparse(call)
    return text if len(text) <= 70 else f"{ast.unparse(call.func)}(...)"


@check("aiohttp", "httpx")
def trust_the_private_ca(module: Module) -> Iterator[Report]:
    """Certificates are not checked."""
    for call in module.all(ast.Call):
        value = verifies_nothing(module, call)
        if value is not None and not is_plain_http(module, call):
            word = value.parent.arg
            right = "verify" if word == "verify" else "ssl"
            yield Report(
                value,
                f"with `{word}=False` whoever answers `{ast.unparse(call.func)}` is trusted",
                f"{right}=ssl.create_default_context(cafile=CA_FILE)",
            )


@check("ClientTimeout")
def connect_alone(module: Module) -> Iterator[Report]:
    """A ClientTimeout without `total`."""
    for call in module.calls("aiohttp.ClientTimeout"):
        if call.args or spreads(call) or keyword(call, "total") is not None:
            continue
        yield Report(
            call,
            "without `total` a dripping answer is read for ever",
            _with_total(call),
            hint=any(map(module.holds, STREAMS)) or bool(LINES.search(module.source)),
        )


def _with_total(call: ast.Call) -> str:
    given = {each.arg: each.value for each in call.keywords}
    if "connect" in given:
        given.setdefault("sock_connect", given.pop("connect"))
        given.pop("connect", None)
    options = [f"{name}={ast.unparse(value)}" for name, value in given.items()]
    return f"{ast.unparse(call.func)}({', '.join(['total=TOTAL', *options])})"


@check("ClientError")
def clienterror_alone(module: Module) -> Iterator[Report]:
    """`except ClientError` around a request, where nothing catches the TimeoutError."""
    for handler, kinds in caught_alone(module):
        names = [*map(ast.unparse, kinds), "TimeoutError"]
        named = f" as {handler.name}" if handler.name else ""
        yield Report(
            handler,
            "the TimeoutError of `total` passes by this handler",
            f"except ({', '.join(names)}){named}:",
        )


@check("aiohttp")
def unread_responses(module: Module) -> Iterator[Report]:
    """An answer that a name holds and nothing reads or closes, or only one branch."""
    for call, name, never in unread(module):
        how = "is never read or closed" if never else "is read in one branch only"
        yield Report(
            call,
            f"`{name}` {how}: it keeps its connection",
            f"async with {_short(call)} as {name}:",
        )


@check("aiohttp", "httpx")
def retry_what_may_run_twice(module: Module) -> Iterator[Report]:
    """A loop that repeats a request of any method, or a POST, after a lost answer."""
    if is_script(module):
        return
    for call, whichever in repeated(module):
        yield Report(
            call,
            "a lost answer is asked for again: the server may do the work twice",
            "repeat only idempotent methods, or send an Idempotency-Key made before the first try",
            hint=not whichever,
        )


@check("aiohttp", "httpx")
def streams_are_sent_once(module: Module) -> Iterator[Report]:
    """A file or generator made before the loop that sends it."""
    for each, made in reused_bodies(module):
        yield Report(
            each.value,
            f"the second attempt sends what the first left of `{each.value.id}`: nothing",
            f"{each.arg}={ast.unparse(made)}",
        )


@check("TCPConnector")
def limit_without_limit_per_host(module: Module) -> Iterator[Report]:
    """A limit that one slow host can use up."""
    for call in module.calls("aiohttp.TCPConnector"):
        limit = keyword(call, "limit")
        if spreads(call) or keyword(call, "limit_per_host") is not None or is_script(module):
            continue
        if limit is not None and getattr(limit, "value", 1) not in (0, None):
            yield Report(
                call,
                "one slow host can take all connections",
                f"add `limit_per_host=`, below `limit={ast.unparse(limit)}`",
                hint=True,
            )


@check("ClientSession")
def shared_cookies(module: Module) -> Iterator[Report]:
    """A session of the lifespan that keeps cookies."""
    for call in module.calls(AIOHTTP):
        function = function_of(call)
        shared = function is not None and module.project.is_lifespan(function, module)
        if shared and not spreads(call) and keyword(call, "cookie_jar") is None:
            yield Report(
                call,
                "it sends the cookies of one user's answer with the next user's request",
                "add `cookie_jar=aiohttp.DummyCookieJar()`",
                hint=True,
            )


@check("raise_for_status=True")
def raise_for_status(module: Module) -> Iterator[Report]:
    """A session that raises before the body is read."""
    for call in module.calls(AIOHTTP):
        value = keyword(call, "raise_for_status")
        if isinstance(value, ast.Constant) and value.value is True:
            yield Report(
                value,
                "the error lacks the body, in which the server says why",
                "leave `raise_for_status` out; check `status` and read the body",
                hint=True,
            )


@check("aiohttp")
def redirects_carry_keys(module: Module) -> Iterator[Report]:
    """A key in a header of a request that follows redirects."""
    for call in requests_in(module, AIOHTTP):
        headers = keyword(call, "headers")
        if keyword(call, "allow_redirects") is not None or not isinstance(headers, ast.Dict):
            continue
        names = [str(getattr(key, "value", "")).lower() for key in headers.keys]
        if any(key in name for name in names for key in KEYS) and not spreads(call):
            yield Report(
                call,
                "a redirect carries the key to another host",
                "add `allow_redirects=False`",
                hint=True,
            )


@check("retries=")
def httpx2_retries(module: Module) -> Iterator[Report]:
    """A transport's `retries=`, which repeats connecting only."""
    for call in module.calls("httpx.AsyncHTTPTransport", "httpx2.AsyncHTTPTransport"):
        value = keyword(call, "retries")
        if value is not None and getattr(value, "value", 1) != 0:
            yield Report(
                value,
                "it repeats connecting, not a request whose answer is lost",
                "retry in a loop of your own what may run twice",
                hint=True,
            )
