"""How a test speaks about an entry of the error index: it makes a library write the text."""

import functools
import importlib
import inspect
import io
import re
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from rulebook.errors import GAP, Entry, read_errors
from rulebook.versions import pins
from tests.harness import ROOT
from tests.harness.judge import run
from tests.harness.record import recorded


@functools.cache
def entries() -> dict[tuple[str, str], Entry]:
    """Every entry by its category and fragment."""
    return {(entry.category, entry.fragment): entry for entry in read_errors(ROOT)[0]}


def produces(
    category: str, fragment: str, *, where: str = "", limit: float = 10
) -> Callable[[Callable[..., Any]], Any]:
    """Mark a function as making a library write the text of an entry.

    It may raise, log, warn or return the text. With a parameter `cured` it also runs with True:
    then it does what the entry says, has to end without an error, and the text is not written.
    `where` names the versions that word it so, as "python<3.14" or "sqlalchemy>=2.1"; on others
    the test is skipped, and the entry's Versions say what is seen there. `limit` is in seconds.
    """

    def decorate(produce: Callable[..., Any]) -> Any:
        signature = inspect.signature(produce)
        curable = "cured" in signature.parameters

        def test(cured: bool = False, **fixtures: Any) -> None:
            if where and not _holds(where):
                pytest.skip(f"worded so on {where} only")
            entry = entries().get((category, fragment))
            assert entry is not None, f"errors/{category}.md has no entry {fragment!r}"
            arguments = fixtures | ({"cured": cured} if curable else {})
            printed = ""
            with recorded() as record:
                try:
                    record.lines.append(str(run(produce, limit, **arguments)))
                except BaseException as error:
                    if cured or isinstance(error, pytest.skip.Exception | KeyboardInterrupt):
                        raise
                    record.error(error)
                    printed = "".join(traceback.format_exception(error))

            if cured:
                assert fragment not in record.text
                return
            assert fragment in record.text
            if fragment in printed:
                assert fragment in explained(printed)
            if _as_pinned():
                assert _missing(entry.seen, record.text) == []

        functools.update_wrapper(test, produce)
        test.__signature__ = signature  # type: ignore[attr-defined]
        test.__test__ = True  # type: ignore[attr-defined]
        marked = pytest.mark.filterwarnings("ignore")(test)
        if curable:
            both = pytest.mark.parametrize("cured", [False, True], ids=["seen", "cured"])
            return both(marked)
        return marked

    return decorate


def explained(text: str) -> list[str]:
    """The entries that scripts/explain.py finds in a text, in its order."""
    module = explain_script()
    reader = module.Reader(_known())
    return [match.entry.fragment for match in module.explain(io.BytesIO(text.encode()), reader)]


@functools.cache
def _known() -> Any:
    return explain_script().read_entries()


@functools.cache
def explain_script() -> Any:
    """scripts/explain.py as a module; it finds its own neighbour beside it."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module("explain")
    finally:
        sys.path.pop(0)


def _missing(seen: str, text: str) -> list[str]:
    """The parts of a text between its gaps that were not written."""
    written = _one_line(text)
    return [part for part in map(_one_line, seen.split(GAP)) if part not in written]


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _holds(where: str) -> bool:
    return all(_one_holds(each.strip()) for each in where.split(","))


def _one_holds(where: str) -> bool:
    match = re.fullmatch(r"([a-z0-9-]+)([<>=!~]=?[0-9.]+)", where)
    assert match, f"where={where!r}: write a name, a comparison, a version"
    name, wanted = match[1], SpecifierSet(match[2])
    found = ".".join(map(str, sys.version_info[:3])) if name == "python" else version(name)
    return found in wanted


@functools.cache
def _as_pinned() -> bool:
    """Whether this is what Seen was copied from: the pins, on Python 3.11."""
    known = pins(ROOT)
    names = [name for name in ("fastapi", "sqlalchemy", "asyncpg", "aiohttp") if name in known]
    pinned = all(version(name) == known[name] for name in names)
    return pinned and sys.version_info[:2] == (3, 11)
