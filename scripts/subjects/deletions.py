"""Parents that are deleted while the mapping would set their children's key to NULL."""

import ast
from collections.abc import Iterator

from project.module import Module, function_of, keyword
from project.values import SESSION

from subjects.loads import loaded_objects, mentions
from subjects.mapped import assigned
from subjects.mappings import relationship

_PASSIVE = ("passive_deletes", "viewonly", "secondary", "sa_relationship_kwargs", "sa_relationship")


def refused(module: Module) -> Iterator[tuple[ast.Call, str, str]]:
    """Deletions that a NOT NULL key may refuse: the call, the relationship, the key's column."""
    for call in module.methods(SESSION, "delete"):
        owner = _class(module, call.args[0]) if call.args else None
        found = module.project.definition(owner)
        if not found or not isinstance(found[1], ast.ClassDef):
            continue
        home, parent = found
        table = getattr(assigned(parent, "__tablename__"), "value", None)
        for each in parent.body:
            name = getattr(getattr(each, "target", None), "id", None)
            held = relationship(home, owner, name) if name else None
            if not held or not held.many or _is_cared_for(held.call) or held.lazy == "noload":
                continue
            column = _required_key(home, held.target, table)
            if column and not mentions(function_of(call), held.target):
                yield call, f"{parent.name}.{name}", column
                break


def _class(module: Module, node: ast.expr) -> str | None:
    """The class of an object: by its annotation, or by the query that got it."""
    kind = module.value(node)
    function = function_of(node)
    if kind is None and isinstance(node, ast.Name) and function is not None:
        for name, owner, _, _ in loaded_objects(module, function):
            if name == node.id:
                return owner
    return kind


def _is_cared_for(call: ast.Call) -> bool:
    """Whether a relationship says what becomes of the children of a deleted parent."""
    if any(each.arg in (None, *_PASSIVE) for each in call.keywords):
        return True
    cascade = keyword(call, "cascade")
    if cascade is None:
        return False
    text = str(cascade.value) if isinstance(cascade, ast.Constant) else "all"
    return "all" in text or "delete" in text


def _required_key(home: Module, child: str, table: str | None) -> str | None:
    """The NOT NULL column of a child by which it belongs to a table."""
    found = home.project.definition(home.project.member(home, child)) if table else None
    if not found or not isinstance(found[1], ast.ClassDef):
        return None
    keys = []
    for each in found[1].body:
        written = ast.unparse(each) if isinstance(each, ast.AnnAssign) else ""
        if f"ForeignKey('{table}." in written:
            optional = "None" in ast.unparse(each.annotation) or "Optional" in written
            keys.append(None if optional or "nullable=True" in written else each.target.id)
    return keys[0] if len(keys) == 1 else None
