"""Execute a block as a real module whose tracebacks point into the page."""

import ast
import sys
from types import ModuleType

from rulebook.model import Half


def padded(half: Half) -> str:
    """The code below as many empty lines as stand above it in the page."""
    return "\n" * half.block.line + half.block.code


def module_name(half: Half) -> str:
    """A dotted name that is unique to the block."""
    page = half.page.removesuffix(".md").replace("/", ".")
    return f"{page}.L{half.block.line}"


def parses(half: Half) -> bool:
    """Whether the block is Python at all."""
    try:
        ast.parse(half.block.code)
    except SyntaxError:
        return False
    return True


def load(half: Half, tree: ast.Module | None = None) -> ModuleType:
    """Execute the block and return its module.

    The module stands in `sys.modules`: SQLAlchemy's `Mapped[...]`, pydantic's self-references and
    pickle look names up there. Each call makes a fresh module. `tree` replaces the code, for
    mutations. Raises whatever the block raises.
    """
    module = ModuleType(module_name(half))
    module.__file__ = str(half.block.path)
    source = padded(half) if tree is None else tree
    code = compile(source, str(half.block.path), "exec", dont_inherit=True)
    sys.modules[module.__name__] = module
    exec(code, module.__dict__)  # noqa: S102 - running the examples is the point
    return module
