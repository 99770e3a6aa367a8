"""Database URLs that stand in the code."""

import ast

from project.module import Module, function_of, keyword

NAME = "postgresql"
PLAIN = f"{NAME}://"
CREATORS = {"sqlalchemy.URL.create", "sqlalchemy.engine.URL.create"}
READERS = {"os.getenv", "os.environ.get"}


def plain_url(module: Module, engine: ast.Call) -> ast.expr | None:
    """Where a `create_async_engine` call gets a URL that names no driver, or None."""
    url = engine.args[0] if engine.args else keyword(engine, "url")
    seen = 0
    while url is not None and seen < 8:
        if isinstance(url, ast.Call) and module.name(url.func) in CREATORS:
            driver = url.args[0] if url.args else keyword(url, "drivername")
            return driver if isinstance(driver, ast.Constant) and driver.value == NAME else None
        if _begins(url):
            return url
        url = _source(module, url)
        seen += 1
    return None


def _begins(node: ast.expr) -> bool:
    first = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
    if isinstance(node, ast.BinOp):
        return _begins(node.left)
    return (
        isinstance(first, ast.Constant)
        and isinstance(first.value, str)
        and first.value.startswith(PLAIN)
    )


def _source(module: Module, node: ast.expr) -> ast.expr | None:
    """What a variable is set to once, the default of an environment variable, a made URL."""
    if isinstance(node, ast.Call):
        name = module.name(node.func)
        if name in READERS and len(node.args) > 1:
            return node.args[1]
        if name in ("sqlalchemy.make_url", "sqlalchemy.engine.make_url"):
            return node.args[0] if node.args else None
        return None
    if not isinstance(node, ast.Name):
        return None
    scope = function_of(node)
    home = module
    bound = module.bindings(scope).get(node.id, []) if scope is not None else []
    if not bound:
        home, bound = _global(module, node)
    holder = bound[0].parent if len(bound) == 1 and isinstance(bound[0], ast.Name) else None
    value = holder.value if isinstance(holder, ast.Assign | ast.AnnAssign) else None
    return value if home is module or isinstance(value, ast.Constant | ast.JoinedStr) else None


def _global(module: Module, node: ast.Name) -> tuple[Module, list[ast.AST]]:
    file, colon, identifier = (module.name(node) or "").partition(":")
    home = module.project.module(file) if colon and file in module.project.files else None
    if home is None:
        return module, module.bindings(module.tree).get(node.id, [])
    return home, home.bindings(home.tree).get(identifier, [])
