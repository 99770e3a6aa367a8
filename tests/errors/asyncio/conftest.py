"""What the tests of this folder share."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def only_new_garbage() -> Iterator[None]:
    """Each producer collects garbage; what was imported before is left out of the search."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
