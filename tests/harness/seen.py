"""Keep what an observation saw in a half, so that the site can show it beside the code."""

import json
import sys
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rulebook.model import Half

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".cache" / "evidence"
LONGEST = 400  # characters of a value
MOST = 20  # members of a collection
LARGEST = 1000  # from here on numbers are process ids, ports, times


@runtime_checkable
class Exchange(Protocol):
    """What a client saw of a request, and the error that left the application."""

    status: int
    body: bytes
    error: BaseException | None


def keep(half: Half, values: dict[str, Any]) -> None:
    """Write the values that can be shown, by name, into a file of the half."""
    if (ROOT / ".cache").resolve() in Path(sys.prefix).resolve().parents:
        return  # other versions than the pages name
    seen = {
        name: _told(value)
        for name, value in values.items()
        if name.isidentifier() and _plain(value) and len(_told(value)) <= LONGEST
    }
    path = FOLDER / half.page.removeprefix("rules/").removesuffix(".md")
    path.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"python": sys.version.split()[0], "seen": seen}, indent=2)
    (path / f"{half.pair}.{half.verdict}.json").write_text(text, encoding="utf-8")


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return len(value) <= MOST and all(map(_plain, value))
    if isinstance(value, int):
        return value < LARGEST
    if isinstance(value, str):
        return "localhost" not in value and "127.0.0.1" not in value  # their ports differ
    return value is None or isinstance(value, BaseException | Exchange)


def _told(value: Any) -> str:
    if isinstance(value, Exchange):
        error = f", then {type(value.error).__name__}" if value.error else ""
        return f"{value.status} {value.body.decode(errors='replace')}".strip() + error
    if isinstance(value, BaseException):
        return type(value).__name__
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(map(repr, value))) + "}" if value else "set()"
    return repr(value)
