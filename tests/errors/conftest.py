"""What the producers leave behind on purpose is gone before other tests begin."""

import gc
import sys
import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def leftovers_are_collected() -> Iterator[None]:
    """Forgotten coroutines and dropped connections complain here, where nobody listens."""
    yield
    hook, sys.unraisablehook = sys.unraisablehook, lambda event: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
    finally:
        sys.unraisablehook = hook
