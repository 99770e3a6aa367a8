"""Empty a half of its behaviour, to see whether a proof notices."""

import ast
import gc

FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def hollow(code: str, line: int) -> ast.Module:
    """Return the code with every function body emptied, shifted down by `line` lines.

    A generator yields None once, anything else returns None; `__init__` stays, so that objects
    can still be made. Code that only declares, such as models, loses its class bodies instead.
    """
    # A greenlet that is collected meanwhile makes CPython 3.11 lose count: SystemError.
    gc.disable()
    try:
        tree = ast.parse(code)
    finally:
        gc.enable()
    functions = [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    for node in functions:
        if node.name != "__init__":
            node.body = [ast.Expr(ast.Yield(None)) if _yields(node) else ast.Pass()]
    if not functions:
        for each in ast.walk(tree):
            if isinstance(each, ast.ClassDef):
                each.body = [ast.Pass()]
    return ast.increment_lineno(ast.fix_missing_locations(tree), line)


def _yields(function: ast.AST) -> bool:
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        scope = FUNCTIONS | ast.Lambda | ast.ClassDef
        if not isinstance(node, scope) and _yields(node):
            return True
    return False
