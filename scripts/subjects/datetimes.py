"""Columns that hold a `datetime`, and how they are written with a time zone."""

import ast

from project.module import Module, keyword

ZONE = "DateTime(timezone=True)"
LENGTH = 100  # characters of a rewritten line, beyond which its end is left out
KEPT = {"ForeignKey", "Identity", "Computed"}  # what may stand beside a column's type
PLAIN, ZONED, UNTYPED = "plain", "zoned", "untyped"


def is_datetime(module: Module, node: ast.expr) -> bool:
    """Whether an annotation is `datetime`, perhaps optional, and no alias that may say more."""
    if module.project.annotated(module, node) != "datetime.datetime":
        return False
    return any(
        (isinstance(each, ast.Constant) and "datetime" in str(each.value))
        or module.name(each) == "datetime.datetime"
        for each in ast.walk(node)
    )


def mapped_datetime(module: Module, node: ast.AnnAssign) -> bool:
    """Whether a statement of a class body is `name: Mapped[datetime]`."""
    mapped = node.annotation
    return (
        isinstance(node.parent, ast.ClassDef)
        and isinstance(node.target, ast.Name)
        and isinstance(mapped, ast.Subscript)
        and module.name(mapped.value) == "sqlalchemy.orm.Mapped"
        and is_datetime(module, mapped.slice)
    )


def zone_of(module: Module, node: ast.AnnAssign) -> str:
    """PLAIN for a type without a time zone, UNTYPED where a base decides, ZONED for the rest."""
    call = node.value
    if call is None:
        return UNTYPED
    if not isinstance(call, ast.Call) or module.name(call.func) != "sqlalchemy.orm.mapped_column":
        return ZONED
    found = UNTYPED
    for each in _types(call):
        if isinstance(each, ast.Starred):
            return ZONED
        if isinstance(each, ast.Constant) or _kind(module, each)[1] in KEPT:
            continue
        if not _is_plain(module, each):
            return ZONED
        found = PLAIN
    return ZONED if any(word.arg is None for word in call.keywords) else found


def with_zone(module: Module, node: ast.AnnAssign) -> str:
    """The line with a time zone in the column's type."""
    start = f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)} = mapped_column"
    call = node.value
    if not isinstance(call, ast.Call):
        return f"{start}({ZONE})"
    args = [ast.unparse(each) for each in call.args if not _is_plain(module, each)]
    named = bool(call.args) and isinstance(call.args[0], ast.Constant)
    args.insert(1 if named else 0, ZONE)
    args += [_aware(word) for word in call.keywords if word.arg != "type_"]
    whole = f"{start}({', '.join(args)})"
    return whole if len(whole) <= LENGTH else f"{start}({ZONE}, ...)"


def _aware(word: ast.keyword) -> str:
    """A keyword as it is written, but `utcnow`, whose values asyncpg takes for local time."""
    if getattr(word.value, "attr", "") == "utcnow":
        return f"{word.arg}=lambda: datetime.now(UTC)"
    return ast.unparse(word)


def _types(call: ast.Call) -> list[ast.expr]:
    given = keyword(call, "type_")
    return call.args if given is None else [*call.args, given]


def _kind(module: Module, node: ast.expr) -> tuple[str, str]:
    name = module.name(node.func if isinstance(node, ast.Call) else node) or ""
    home, _, kind = name.rpartition(".")
    return home, kind


def _is_plain(module: Module, node: ast.expr) -> bool:
    """Whether a type is `DateTime` or `TIMESTAMP`, and its author says nothing of time zones."""
    home, kind = _kind(module, node)
    if kind not in ("DateTime", "TIMESTAMP") or not home.startswith("sqlalchemy"):
        return False
    return not isinstance(node, ast.Call) or not (node.args or node.keywords)
