"""`METHOD PATH [BODY]`: what to send, with values that are filled in anew each time."""

import itertools
import json
import re
import secrets
import uuid
from dataclasses import dataclass, field

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WS"}
PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_numbers = itertools.count(10**6 + secrets.randbelow(2 * 10**9))  # no two runs share any


class RequestError(Exception):
    """A request that cannot be sent; the message says what is wrong with it."""


@dataclass
class Request:
    """A request to the application; the body is JSON, or a form such as `a=1&b=2`.

    The method WS opens a WebSocket, sends the body as a text message, and leaves.
    """

    method: str
    path: str
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    values: dict[str, object] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def kind(self) -> str:
        """The content type, by the body's first character."""
        if not self.body:
            return ""
        json = self.body[0] in "[{"
        return "application/json" if json else "application/x-www-form-urlencoded"

    @property
    def fault(self) -> str:
        """Why a body that looks like JSON is none, or an empty string."""
        body = self.filled()[1]
        try:
            if body[:1] in ("{", "["):
                json.loads(body)
        except ValueError as error:
            return f"its body is no JSON: {error}"
        return ""

    def filled(self) -> tuple[str, str]:
        """Path and body with `{{uuid}}` and `{{n}}` anew, and with the values of the set-up.

        Raises RequestError for a name that nothing gives a value.
        """
        known = {"uuid": uuid.uuid4().hex, "n": next(_numbers)} | self.values

        def value(match: re.Match[str]) -> str:
            if match[1] not in known:
                names = ", ".join(sorted(known))
                text = f"{self.label}: nothing gives a value for {match[0]}; known are {names}"
                raise RequestError(f"{text}, and what --setup returns")
            return str(known[match[1]])

        return PLACEHOLDER.sub(value, self.path), PLACEHOLDER.sub(value, self.body)


def read_request(text: str, headers: dict[str, str]) -> Request:
    """Read `METHOD PATH [BODY]`. Raises RequestError when it is not of that form."""
    method, _, rest = text.strip().partition(" ")
    path, _, body = rest.strip().partition(" ")
    if method.upper() not in METHODS or not path.startswith("/"):
        form = 'METHOD /path [BODY], as \'POST /orders {"reference": "{{uuid}}"}\''
        raise RequestError(f"{text!r} is no request; write {form}")
    return Request(method.upper(), path, body.strip(), dict(headers))


def read_header(text: str) -> tuple[str, str]:
    """Read `Name: value`. Raises RequestError when there is no colon."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise RequestError(f"{text!r} is no header; write 'Name: value'")
    return name.strip().lower(), value.strip()
