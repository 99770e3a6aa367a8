"""Empty a half of its behaviour, to see whether a proof notices."""

import ast


def hollow(code: str, line: int) -> ast.Module:
    """Return the code with every function body emptied, shifted down by `line` lines.

    A generator yields None once, anything else returns None; `__init__` stays, so that objects
    can still be made.
    """
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "__init__":
            empty = ast.Expr(ast.Yield(None)) if _yields(node) else ast.Pass()
            node.body = [empty]
    return ast.increment_lineno(ast.fix_missing_locations(tree), line)


def _yields(function: ast.AST) -> bool:
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
        if not isinstance(node, scope) and _yields(node):
            return True
    return False
