"""Requests that are wrong in one place: is what was sent echoed, is anything a 500?"""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .core.run import Run, collect
from .core.trace import Trace
from .core.verdict import CANNOT_TELL, FOUND, OK, Verdict

TRAP = "fastapi/middleware#problem-details-without-inputs"
SECRET = re.compile(
    r"password|passwd|passphrase|passcode|secret(?!ar)|credential|token$"
    r"|(api|access|private|signing|client)[_-]?key"
    r"|(?<![a-z])(pass|pwd|auth|authorization|pin|otp|cvv|cvc|ssn|iban)(?![a-z])",
    re.I,
)
IDENTIFIER = re.compile(r"\d+|[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MARK = "probe-7f3a9c"
FIELDS = 20  # of a body that are made wrong
NUMBER = re.compile(r"-?\d+(\.\d+)?")
ID = re.compile(r"(^|_|(?<=[a-z])(?=I))(id|Id|ID|pk)$")
HUGE = 2**63  # beyond a bigint


@dataclass(frozen=True)
class Wrong:
    """A request made wrong: what is wrong with it, and what it carries by the field's name."""

    what: str
    path: str
    body: str
    marks: tuple[tuple[str, str], ...]  # (name of a field, what was put there)


async def look(run: Run) -> list[Verdict]:
    """Each field missing, of a wrong type, NaN, each number 0 and -1; queries, ids in the path."""
    sent = _sent(run)
    if not sent:
        why = "it has no body, no query and no id in its path to make wrong"
        return [Verdict("inputs", CANNOT_TELL, why)]
    faults: dict[str, list[str]] = {}  # what went wrong, and when
    echoed: dict[str, str] = {}
    for number in range(len(sent)):
        each = _anew(run, number)
        trace = Trace()
        answer = await run.again(trace, path=each.path, body=each.body)
        if answer.stuck:
            faults.setdefault(f"it waits at {answer.waits}", []).append(each.what)
        elif answer.told >= 500:
            said = repr(answer.error) if answer.error else answer.text
            faults.setdefault(f"{answer.told}: {said[:150]}", []).append(each.what)
        elif answer.told >= 400:
            for name, mark in each.marks:
                if mark in answer.text:
                    echoed.setdefault(name, f"{answer.told} when {each.what}")
        collect(trace, answer)
    return _verdicts(len(sent), faults, echoed)


def _verdicts(count: int, faults: dict[str, list[str]], echoed: dict[str, str]) -> list[Verdict]:
    found = []
    if faults:
        evidence = [f"when {_few(when)}: {error}" for error, when in list(faults.items())[:5]]
        says = "a wrong request is answered as a fault of the server"
        found.append(Verdict("inputs", FOUND, says, evidence, TRAP))
    secret = {name: when for name, when in echoed.items() if SECRET.search(name)}
    if secret:
        evidence = [f"{name}: {when}" for name, when in secret.items()]
        says = "an error answer repeats what the client sent as a secret"
        found.append(Verdict("inputs", FOUND, says, evidence, TRAP))
    if found:
        return found
    plain = f"; the answer repeats {', '.join(sorted(echoed))}" if echoed else ""
    return [Verdict("inputs", OK, f"{count} wrong requests, none a 500, no secret repeated{plain}")]


def _few(when: list[str]) -> str:
    more = f", and {len(when) - 3} more" if len(when) > 3 else ""
    return ", ".join(when[:3]) + more


def _sent(run: Run) -> list[Wrong]:
    return list(wrong(*run.request.filled(), run.request.filled()[1]))


def _anew(run: Run, number: int) -> Wrong:
    """A wrong request with values that no other has: a unique column would refuse them twice."""
    each = _sent(run)[number]
    mark = f"{MARK}{uuid.uuid4().hex[:6]}"
    marks = tuple((name, value.replace(MARK, mark)) for name, value in each.marks)
    path, body = each.path.replace(MARK, mark), each.body.replace(MARK, mark)
    return Wrong(each.what, path, body, marks)


def wrong(path: str, body: str, again: str | None = None) -> Iterator[Wrong]:
    """Every wrong form of a request; `again` is its body filled anew: what differs has to vary."""
    if body[:1] in ("{", "["):
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if document is not None:
            yield Wrong("the JSON is cut off", path, body[:-1], ())
            yield from _documents(path, document)
            yield from _numbers(path, document, json.loads(again or body))
    elif body:
        yield from _forms(path, body)
    route, mark, query = path.partition("?")
    for number, pair in enumerate(query.split("&")):
        name, _, value = pair.partition("=")
        if not pair:
            continue
        changed = f"{route}?{_joined('&', query, number, f'{name}={_mark(name)}')}"
        yield Wrong(f"?{name} is wrong", changed, body, ((name, _mark(name)),))
        for each in _others(name, value) if NUMBER.fullmatch(value) else ():
            changed = f"{route}?{_joined('&', query, number, f'{name}={each}')}"
            yield Wrong(f"?{name} is {each}", changed, body, ())
    for number, part in enumerate(route.split("/")):
        if IDENTIFIER.fullmatch(part):
            changed = _joined("/", route, number, _mark("id")) + mark + query
            marks = (("id in the path", _mark("id")),)
            yield Wrong("the id in the path is wrong", changed, body, marks)
        for each in _others("id", part) if NUMBER.fullmatch(part) else ():
            changed = _joined("/", route, number, str(each)) + mark + query
            yield Wrong(f"the id in the path is {each}", changed, body, ())


def _joined(separator: str, text: str, number: int, new: str) -> str:
    """The text with another part at this place."""
    parts = text.split(separator)
    parts[number] = new
    return separator.join(parts)


def _others(name: object, value: object) -> list[int]:
    """Numbers that a client may send instead.

    A huge one only for an id: where it is a count, the application may obey it.
    """
    huge = [HUGE] if ID.search(str(name)) and "." not in str(value) else []
    return [each for each in (0, -1, *huge) if str(each) != str(value)]


def _numbers(path: str, document: Any, again: Any) -> Iterator[Wrong]:
    """Each number that is the same in each request: one that is not has to be unique."""
    same = dict(_leaves(again))
    for place, value in list(_leaves(document))[:FIELDS]:
        if type(value) in (int, float) and same.get(place) == value:
            name = ".".join(map(str, place))
            for each in _others(place[-1], value):
                changed = json.dumps(_changed(document, place, each))
                yield Wrong(f"{name} is {each}", path, changed, ())


def _documents(path: str, document: Any) -> Iterator[Wrong]:
    places = list(_leaves(document))
    marked, marks = document, []
    for place, value in places:
        if isinstance(value, str):
            marked = _changed(marked, place, _mark(place[-1]))
            marks.append((".".join(map(str, place)), _mark(place[-1])))
    for place, value in places[:FIELDS]:
        name = ".".join(map(str, place))
        others = tuple(each for each in marks if each[0] != name)
        yield Wrong(f"{name} is missing", path, json.dumps(_without(marked, place)), others)
        bad = {"x": _mark(place[-1])} if isinstance(value, str) else _mark(place[-1])
        own = ((name, _mark(place[-1])),)
        changed = json.dumps(_changed(document, place, bad))
        yield Wrong(f"{name} is of a wrong type", path, changed, own)
        yield Wrong(f"{name} is NaN", path, json.dumps(_changed(document, place, float("nan"))), ())


def _forms(path: str, body: str) -> Iterator[Wrong]:
    given = body.split("&")
    pairs = [pair.partition("=")[0] for pair in given]
    for missing in pairs:
        own = ((missing, _mark(missing)),)
        others = [pair for pair in given if pair.partition("=")[0] != missing]
        changed = "&".join([f"{missing}={_mark(missing)}", *others])
        yield Wrong(f"{missing} is of a wrong type", path, changed, own)
        rest = [name for name in pairs if name != missing]
        changed = "&".join(f"{name}={_mark(name)}" for name in rest)
        yield Wrong(f"{missing} is missing", path, changed, tuple((n, _mark(n)) for n in rest))


def _mark(name: object) -> str:
    """A value that no answer holds by chance, and that tells its field."""
    return f"{MARK}-{re.sub(r'[^a-z0-9]', '', str(name).lower())}-value"


def _leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, each in inner:
        yield (*place, key), each
        yield from _leaves(each, (*place, key))


def _changed(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    copy, holder = _copied(value, place)
    holder[place[-1]] = new
    return copy


def _without(value: Any, place: tuple[Any, ...]) -> Any:
    copy, holder = _copied(value, place)
    del holder[place[-1]]
    return copy


def _copied(value: Any, place: tuple[Any, ...]) -> tuple[Any, Any]:
    copy = holder = json.loads(json.dumps(value))
    for key in place[:-1]:
        holder = holder[key]
    return copy, holder
