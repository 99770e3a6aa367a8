"""What can be asked of an application without being told: its own routes."""

import re
from dataclasses import dataclass
from typing import Any

READY = re.compile(r"/(readyz?|readiness)$")
LIVE = re.compile(r"/(livez?|liveness)$")


@dataclass(frozen=True)
class Paths:
    """Where an orchestrator asks, as far as names tell."""

    ready: str | None
    live: str | None


def guessed(app: Any) -> Paths:
    """The paths that are named like readiness and liveness."""
    paths = _paths(app)
    ready = next((path for path in paths if READY.search(path)), None)
    return Paths(ready, next((path for path in paths if LIVE.search(path)), None))


def readable(app: Any) -> list[str]:
    """The paths of GET routes that need no parameter, but for those of health checks."""
    return [path for path in _paths(app) if not (READY.search(path) or LIVE.search(path))]


def _paths(app: Any) -> list[str]:
    for each in _inside(app):
        openapi = getattr(each, "openapi", None)
        if callable(openapi):
            try:
                paths = openapi()["paths"]
            except Exception:  # a schema that cannot be made is another matter
                return []
            return [path for path, methods in paths.items() if _plain(path, methods.get("get"))]
        routes = getattr(each, "routes", None)
        if routes:
            return [
                route.path
                for route in routes
                if "GET" in (getattr(route, "methods", None) or ()) and "{" not in route.path
            ]
    return []


def _plain(path: str, get: Any) -> bool:
    if not get or "{" in path:
        return False
    return not any(each.get("required") for each in get.get("parameters", ()))


def _inside(app: Any) -> list[Any]:
    """An application and those that its middlewares wrap."""
    found: list[Any] = []
    while app is not None and app not in found and len(found) < 20:
        found.append(app)
        app = getattr(app, "app", None)
    return found
