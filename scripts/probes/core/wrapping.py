"""Put wrappers around what libraries do, and take them away again."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

Wrapper = Callable[[Any], Any]


@contextmanager
def hooked(wrapped: Iterable[tuple[Any, str, Wrapper]]) -> Iterator[None]:
    """Wrap each owner's name while the block runs; a classmethod is given as it stands there."""
    originals = []
    for owner, name, wrapper in wrapped:
        original = inspect.getattr_static(owner, name, None)
        if original is not None:  # a private name that this version does not have
            originals.append((owner, name, original))
            setattr(owner, name, wrapper(original))
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)
