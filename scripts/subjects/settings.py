"""Classes of settings: what they keep, and what their errors print."""

import ast
import re
from collections.abc import Iterator

from project.module import Module

SETTINGS = "pydantic_settings.BaseSettings"
SECRET = re.compile(
    r"(^|_)(password|passwd|pwd|secret|api_?key|private_key|secret_key|jwt_key|signing_key|"
    r"encryption_key|access_key|auth_token|access_token|bot_token|api_token|credentials?|dsn)$"
    r"|(^|_)(database|db|postgres\w*|redis|amqp|broker|rabbitmq|mongo)_(url|uri)$",
    re.IGNORECASE,
)
PLAIN = {"builtins.str", "pydantic.PostgresDsn", "pydantic.RedisDsn", "pydantic.AmqpDsn"}
HIDES = "hide_input_in_errors"
LONG = 120  # characters of a call that is no longer repeated


def settings(module: Module) -> Iterator[ast.ClassDef]:
    """The classes of a module that inherit from BaseSettings."""
    for each in module.all(ast.ClassDef):
        if module.project.is_a(module.project.named(module, each), SETTINGS):
            yield each


def fields(owner: ast.ClassDef) -> list[ast.AnnAssign]:
    """The fields that a class of settings declares."""
    return [
        each
        for each in owner.body
        if isinstance(each, ast.AnnAssign)
        and isinstance(each.target, ast.Name)
        and "ClassVar" not in ast.unparse(each.annotation)
        and not each.target.id.startswith(("_", "model_config"))
    ]


def secrets(module: Module, owner: ast.ClassDef) -> list[ast.AnnAssign]:
    """The fields whose names say that they are secret, and whose type shows them."""
    return [
        each
        for each in fields(owner)
        if SECRET.search(each.target.id)
        and not _open(each)
        and module.project.annotated(module, each.annotation) in PLAIN
    ]


def _open(field: ast.AnnAssign) -> bool:
    """Whether a field is the address of a Redis that by its default asks for no password."""
    text = getattr(field.value, "value", None)
    return isinstance(text, str) and text.startswith("redis:") and "@" not in text


def required(owner: ast.ClassDef) -> ast.AnnAssign | None:
    """The first field without a default, whose absence is an error about the whole input."""
    for each in fields(owner):
        value = each.value
        if value is None and "default" in ast.unparse(each.annotation):
            continue
        if value is None or (isinstance(value, ast.Constant) and value.value is Ellipsis):
            return each
        if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "Field":
            given = {word.arg for word in value.keywords}
            first = value.args[0] if value.args else None
            missing = first is None or getattr(first, "value", None) is Ellipsis
            if missing and not given & {"default", "default_factory", None}:
                return each
    return None


def config(owner: ast.ClassDef) -> ast.AST | None:
    """The call, dict or class `Config` by which a class of settings is configured."""
    for each in owner.body:
        if isinstance(each, ast.ClassDef) and each.name == "Config":
            return each
        targets = each.targets if isinstance(each, ast.Assign) else [getattr(each, "target", None)]
        if any(getattr(target, "id", "") == "model_config" for target in targets):
            return each.value
    return None


def hides(module: Module, owner: ast.ClassDef, depth: int = 0) -> bool:
    """Whether errors of a class are silent about inputs, as far as it and its bases tell."""
    own = config(owner)
    if any(each.arg in (HIDES, None) for each in owner.keywords):
        return True
    if own is not None and (HIDES in ast.unparse(own) or not _literal(own)):
        return True
    for base in owner.bases:
        found = module.project.definition(module.name(base))
        known = found and isinstance(found[1], ast.ClassDef) and depth < 6
        if known and hides(*found, depth + 1):
            return True
    return False


def hidden(how: ast.AST | None) -> str:
    """A configuration that keeps inputs out of errors, as it is written."""
    if isinstance(how, ast.Call):
        whole = ast.unparse(how)
        comma = ", " if how.args or how.keywords else ""
        if len(whole) > LONG:
            return f"{ast.unparse(how.func)}(..., {HIDES}=True)"
        return f"{whole[:-1]}{comma}{HIDES}=True)"
    if isinstance(how, ast.Dict):
        return f'"{HIDES}": True in model_config'
    if isinstance(how, ast.ClassDef):
        return f"{HIDES} = True in Config"
    return f"model_config = SettingsConfigDict({HIDES}=True)"


def _literal(node: ast.AST) -> bool:
    """Whether all that a configuration says is written in it."""
    if isinstance(node, ast.ClassDef):
        return not node.bases
    if isinstance(node, ast.Dict):
        return None not in node.keys
    return (
        isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")).endswith("ConfigDict")
        and all(each.arg for each in node.keywords)
    )
