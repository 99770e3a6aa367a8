"""The `dependency_overrides` of an application: what providers are replaced by."""

import ast
from collections.abc import Iterator

from project.module import Module

MOCKS = {
    f"{home}.{kind}"
    for home in ("unittest.mock", "mock")
    for kind in ("Mock", "MagicMock", "AsyncMock", "NonCallableMock")
}


def overrides(module: Module) -> Iterator[ast.expr]:
    """What a module puts in the place of providers."""
    for node in module.all(ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Subscript) and _table(target.value):
                yield node.value
            elif _table(target) and isinstance(node.value, ast.Dict):
                yield from node.value.values
    for call in module.all(ast.Call):
        updated = getattr(call.func, "attr", "") == "update" and _table(call.func.value)
        if updated and call.args and isinstance(call.args[0], ast.Dict):
            yield from call.args[0].values


def is_mock(module: Module, node: ast.expr) -> bool:
    """Whether a value is a mock that takes any arguments; pytest-mock's `mocker` makes them too."""
    if module.value(node) in MOCKS:
        return True
    func = node.func if isinstance(node, ast.Call) else None
    return (
        isinstance(func, ast.Attribute)
        and getattr(func.value, "id", "") == "mocker"
        and func.attr in ("Mock", "MagicMock", "AsyncMock")
    )


def _table(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "dependency_overrides"
