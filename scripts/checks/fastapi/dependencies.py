"""What can be seen in code of rules/fastapi/dependencies.md."""

import ast
from collections.abc import Iterator

from checks import Report, check
from project.module import FUNCTIONS, Module, arguments, function_of, keyword
from subjects.cached import cached, outlived
from subjects.endpoints import endpoints
from subjects.injected import (
    aliases,
    generator,
    headers_of,
    injectable,
    injections,
    scoped,
    scopes_of,
    unresolvable,
)
from subjects.overrides import is_mock, overrides
from subjects.providers import (
    SESSIONS,
    committing,
    final_commits,
    generators,
    in_default_scope,
    suppressors,
    swallowers,
)
from subjects.settings import config, hidden, hides, required, secrets, settings
from subjects.streamed import deferred, delayed, ended_before, held, loops, streamed
from subjects.tokens import deaf, decodes, refusing, requires, requiring
from subjects.transactions import awaited, early_commits, lost_rows


@check("yield")
def one_session_alias(module: Module) -> Iterator[Report]:
    """A provider that commits after its `yield`, injected in the default scope."""
    for function in generators(module):
        commit = committing(module, function)
        if commit is None or not in_default_scope(module, function):
            continue
        name = module.project.named(module, function)
        called = injectable(module, name)
        message = f"`{called}` commits after the response: when that fails, the client has a 201"
        places = list(aliases(module, name))
        for call in places:
            yield Report(call, message, scoped(call))
        if not places:
            yield Report(commit, message, f'inject it by Depends({called}, scope="function")')


@check("StreamingResponse", "EventSourceResponse")
def sessions_for_streams(module: Module) -> Iterator[Report]:
    """A body that uses a session which is closed before the body runs."""
    for late in streamed(module):
        if late.block is not None or (late.injection and late.injection.scope == "function"):
            yield Report(
                late.call,
                f"`{late.name}` is closed before the body runs; its use there opens it again",
                f"open a session in the generator, in the place of `{late.name}`",
            )


@check("StreamingResponse", "EventSourceResponse", "add_task", "BackgroundTask(")
def streams_and_tasks_in_the_default_scope(module: Module) -> Iterator[Report]:
    """A body or a background task that uses the session of the request."""
    found = set()
    for late in streamed(module):
        if late.injection and late.injection.scope != "function":
            found.add(late.call)
            yield Report(
                late.call,
                f"`{late.name}` keeps its connection until the last byte is sent",
                f"open a session in the generator, in the place of `{late.name}`",
            )
    for late in held(module):
        if late.call not in found and late.injection and late.injection.scope != "function":
            yield Report(
                late.call,
                f"a connection that `{late.name}` has is kept until the last byte is sent",
                f"{'await ' * late.waits}{late.name}.close() before this",
                hint=True,
            )
    for late in deferred(module):
        cure = f"open a session in the task, in the place of `{late.name}`"
        yield Report(late.call, delayed(module, late), cure)


@check("BaseSettings", "Settings")
def settings_that_keep_secrets(module: Module) -> Iterator[Report]:
    """Settings whose error about a missing variable prints secret ones."""
    for owner in settings(module):
        kept, missing = secrets(module, owner), required(owner)
        if not kept or missing is None or hides(module, owner):
            continue
        others = [each for each in kept if each is not missing]
        if not others:
            continue
        name = others[0].target.id
        how = config(owner)
        yield Report(
            how or owner,
            f"the error about a missing `{missing.target.id}` holds the others, `{name}` too",
            hidden(how),
        )


@check("jwt")
def tokens_that_expire(module: Module) -> Iterator[Report]:
    """A token without an end that is taken, an expired one that is a 500."""
    for call in decodes(module):
        handler = deaf(module, call)
        if handler is not None:
            yield Report(
                handler,
                "an expired token raises ExpiredSignatureError, which this misses: a 500",
                "except jwt.InvalidTokenError:",
                hint=not refusing(module, handler),
            )
        if not requires(call):
            yield Report(call, "a token without `exp` never expires", requiring(call), hint=True)


@check("Depends(", "Security(")
def two_scopes_for_one_provider(module: Module) -> Iterator[Report]:
    """One request that needs a provider in the default scope and in that of the function."""
    for function in module.all(*FUNCTIONS):
        if not arguments(function):
            continue
        needed: dict[str, set[str | None]] = {}
        found = list(scopes_of(module, function))
        for name, scope, _, _ in found:
            needed.setdefault(name, set()).add(scope)
        for name, scope, arg, injection in found:
            if {None, "function"} <= needed[name] and scope is None and injection.provider == name:
                identifier = name.partition(":")[2]
                yield Report(
                    arg,
                    f"a second `{identifier}` in one request, beside the one of the function scope",
                    f'{arg.arg} by Depends({identifier}, scope="function")',
                )


@check("yield")
def swallowed_exceptions(module: Module) -> Iterator[Report]:
    """A provider that takes an endpoint's error, or commits in spite of it."""
    for function in generators(module):
        for handler in swallowers(module, function):
            kind = ast.unparse(handler.type) if handler.type else "every error"
            yield Report(
                handler,
                f"`{function.name}` swallows {kind} of the endpoint: the answer is a 500",
                "end the handler with `raise`",
            )
        for call in final_commits(module, function):
            yield Report(
                call,
                "what a failed request wrote is stored",
                f"{awaited(call)} after the `yield`, outside of `finally`",
            )
        for call in suppressors(module, function):
            yield Report(
                call,
                f"`{function.name}` swallows the endpoint's error: the answer is a 500",
                f"no {ast.unparse(call)} around the `yield`",
            )


@check("commit()")
def explicit_commits(module: Module) -> Iterator[Report]:
    """A commit inside the `begin()` block of a provider, and a statement after it."""
    for call, provider in early_commits(module):
        yield Report(
            call,
            f"`{provider}` has begun the transaction: the next statement raises",
            awaited(call).replace("commit", "flush"),
        )


@check("HTTPException")
def rows_that_outlive_an_error(module: Module) -> Iterator[Report]:
    """A row that is added, and rolled back by the error that follows."""
    for call, name in lost_rows(module):
        yield Report(
            call,
            "the HTTPException that follows rolls this row back",
            f"await {name}.rollback(), then add the row in a sessions.begin() block",
        )


@check("websocket")
def session_on_a_socket(module: Module) -> Iterator[Report]:
    """A session injected into a WebSocket endpoint that goes on."""
    for endpoint in endpoints(module):
        if endpoint.verb != "websocket" or not loops(endpoint.function):
            continue
        for arg, injection in injections(module, endpoint.function):
            typed = module.project.annotated(module, arg.annotation) in SESSIONS
            ended = ended_before(endpoint.function, arg.arg)
            if typed and not ended and generator(module, injection) is not None:
                yield Report(
                    arg,
                    f"`{arg.arg}` keeps its connection and transaction while the socket is open",
                    f"open a session for each message or use, in the place of `{arg.arg}`",
                )


@check("websocket")
def tokens_from_browsers(module: Module) -> Iterator[Report]:
    """A WebSocket endpoint that takes its token from a header."""
    for endpoint in endpoints(module):
        if endpoint.verb != "websocket":
            continue
        for arg, scheme in headers_of(module, endpoint.function):
            yield Report(
                arg,
                f"a browser cannot send the header that {scheme} reads",
                "the token as first message, after accept()",
                hint=True,
            )


@check("ContextVar")
def services_built_in_threads(module: Module) -> Iterator[Report]:
    """A `def` provider sets a ContextVar in a thread, where the endpoint does not see it."""
    for call in module.methods("contextvars.ContextVar", "set"):
        function = function_of(call)
        if isinstance(function, ast.FunctionDef) and module.project.is_provider(function, module):
            yield Report(
                call,
                f"`{function.name}` runs in a thread: the endpoint does not see what is set",
                f"async def {function.name}",
            )


@check("max_concurrency")
def max_concurrency(module: Module) -> Iterator[Report]:
    """A limit of a `Depends` that waits without a limit."""
    for call in module.calls("fastapi.Depends", "fastapi.Security"):
        if keyword(call, "max_concurrency") is not None:
            yield Report(
                call,
                "waits for a slot without a time limit, and counts for this Depends alone",
                "the limit of the pool behind it",
                hint=True,
            )


@check("TYPE_CHECKING")
def postponed_annotations(module: Module) -> Iterator[Report]:
    """A name of a parameter's annotation that FastAPI cannot resolve."""
    for arg, name in unresolvable(module):
        yield Report(
            arg,
            f"FastAPI cannot resolve `{name}`: `{arg.arg}` becomes a query parameter",
            f"import {name} outside of `if TYPE_CHECKING:`",
        )


@check("functools")
def settings_at_import(module: Module) -> Iterator[Report]:
    """A cache of coroutines, of generators, or of what holds a session."""
    for function, mark in cached(module):
        what = outlived(module, function)
        if what is not None:
            yield Report(mark, f"`{function.name}` {what}", f"no cache of {function.name}")


@check("dependency_overrides", tests=True)
def overrides_in_tests(module: Module) -> Iterator[Report]:
    """A provider that is replaced by a mock, whose parameters FastAPI asks of the client."""
    for value in overrides(module):
        if is_mock(module, value):
            given = ast.unparse(value)
            yield Report(
                value,
                f"FastAPI takes `args` and `kwargs` of `{given}` for query parameters: a 422",
                f"lambda: {given}",
            )
