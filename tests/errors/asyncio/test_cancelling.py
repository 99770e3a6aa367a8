"""Texts of cancellation and async generators."""

from contextlib import aclosing

import anyio

from tests.harness.errors import produces
from tests.observers.waiting import turns


@produces("asyncio", "Attempted to exit cancel scope in a different task")
async def a_scope_is_left_by_another_task(cured):
    """A generator that holds a scope is left open by its reader, and closed by another task."""

    async def rows():
        with anyio.move_on_after(60):
            yield "apple"

    async def first():
        if cured:
            async with aclosing(rows()) as stream:
                async for row in stream:
                    return row
        async for row in rows():
            return row
        return None

    await first()
    await turns()


@produces("asyncio", "async generator ignored GeneratorExit")
async def a_generator_yields_while_it_is_closed(cured):
    """A stream's last event is yielded in `finally`, while the stream is closed."""

    async def events():
        try:
            yield "one"
        finally:
            if not cured:
                yield "[DONE]"
        yield "[DONE]"

    source = events()
    await anext(source)
    await source.aclose()
