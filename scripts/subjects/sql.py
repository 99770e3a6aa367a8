"""The SQL that an expression of a program holds, as far as its source shows it."""

import ast
import re

from project.module import Module, function_of

HOLE = "\N{REPLACEMENT CHARACTER}"  # stands in a statement for a part that only a run can tell
NAME = r'(?:[\w\ufffd"]+\.)?["\w\ufffd]+'
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_QUOTED = re.compile(r"'(?:[^']|'')*'")
_DEEP = 8


def constant(module: Module, node: ast.AST | None, depth: int = 0) -> str | None:
    """The text of a string, also of one put together or held by a name that is bound once.

    What only a run can tell is a HOLE; None where the expression is no string at all.
    """
    if depth > _DEEP:
        return None
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(_part(module, each, depth + 1) for each in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = [constant(module, each, depth + 1) for each in (node.left, node.right)]
        return None if None in sides else "".join(map(str, sides))
    if isinstance(node, ast.Name):
        return constant(module, held(module, node), depth + 1)
    if isinstance(node, ast.Call) and node.args:
        name = module.name(node.func) or ""
        plain = name in ("alembic.op.f", "sqlalchemy.text", "textwrap.dedent", "inspect.cleandoc")
        return constant(module, node.args[0], depth + 1) if plain else None
    return None


def _part(module: Module, node: ast.AST, depth: int) -> str:
    if isinstance(node, ast.FormattedValue):
        text = constant(module, node.value, depth)
        return HOLE if text is None else text
    return constant(module, node, depth) or ""


def held(module: Module, node: ast.Name) -> ast.AST | None:
    """The value of a name that is assigned once, in the function around it or in the module."""
    scope: ast.AST | None = node
    while scope is not None:
        scope = function_of(scope)
        bound = module.bindings(scope or module.tree).get(node.id)
        if bound:
            holder = bound[0].parent
            single = len(bound) == 1 and bound[0].slot in ("targets", "target")
            plain = isinstance(holder, ast.Assign | ast.AnnAssign | ast.NamedExpr)
            return holder.value if single and plain else None
    return None


def split(text: str) -> list[str]:
    """The statements of a text, without comments; one that holds `$` quotes is left whole."""
    bare = _COMMENT.sub(" ", text)
    parts = [bare] if "$" in bare or ";" not in _QUOTED.sub("", bare) else bare.split(";")
    return [" ".join(part.split()) for part in parts if part.strip()]


def unquoted(name: str) -> str:
    """A table's name without schema and quotes."""
    return name.rpartition(".")[2].strip('"').lower()
