"""Calls: the function of the project behind one, and how to write one in a message."""

import ast

from project.module import Module

LONG = 60  # characters, from which on arguments are left out


def callee(module: Module, node: ast.AST | None) -> tuple[Module, ast.AST] | None:
    """Where the project defines what is called, also as a method of an object of a known class."""
    called = node.func if isinstance(node, ast.Call) else node
    found = module.project.definition(module.name(called))
    if found is None and isinstance(called, ast.Attribute):
        owner = module.value(called.value)
        found = module.project.definition(f"{owner}.{called.attr}") if owner else None
    return found


def written(node: ast.AST) -> str:
    """An expression as the user wrote it; of a long call the name alone, with `(...)`."""
    text = ast.unparse(node)
    if len(text) <= LONG:
        return text
    if isinstance(node, ast.Call):
        return f"{written(node.func)}(...)"
    if isinstance(node, ast.Attribute):
        return f"{written(node.value)}.{node.attr}"
    return f"{text[: LONG - 3]}..."
