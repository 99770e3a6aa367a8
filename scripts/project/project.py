"""A project: its modules, and what one module says of the functions and classes of another."""

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from project.module import FUNCTIONS, Module
from project.values import Values

# What a module must mention to say anything of others.
SPEAKS = re.compile(rb"Depends\(|Security\(|lifespan|iddleware|sqlalchemy\.ext\.asyncio")
Fact = tuple[str, str, str]


@dataclass
class Facts:
    """What modules say of things that may be defined elsewhere."""

    providers: dict[str, set[str]] = field(default_factory=dict)  # name: scopes, "" by default
    lifespans: set[str] = field(default_factory=set)
    middleware: set[str] = field(default_factory=set)
    asynchronous: bool = False  # some module uses SQLAlchemy's asyncio extension

    def add(self, facts: Iterable[Fact]) -> None:
        for kind, name, detail in facts:
            if kind == "provider":
                self.providers.setdefault(name, set()).add(detail)
            elif kind == "lifespan":
                self.lifespans.add(name)
            elif kind == "middleware":
                self.middleware.add(name)
            else:
                self.asynchronous = True


class Project(Values):
    """The files of a project and what is known of them as a whole."""

    def __init__(self, files: dict[str, Path]) -> None:
        super().__init__(files)
        self.facts = Facts()

    def is_provider(self, function: ast.AST, module: Module) -> bool:
        """Whether FastAPI injects what a function returns or yields."""
        return isinstance(function, FUNCTIONS) and (
            self.named(module, function) in self.facts.providers
        )

    def is_lifespan(self, function: ast.AST, module: Module) -> bool:
        """Whether an application has this function as its lifespan, or it looks like one."""
        if not isinstance(function, FUNCTIONS):
            return False
        if self.named(module, function) in self.facts.lifespans:
            return True
        marks = {module.name(each) for each in function.decorator_list}
        args = function.args.args
        kind = self.annotated(module, args[0].annotation) if args else None
        return "contextlib.asynccontextmanager" in marks and kind in (
            "fastapi.FastAPI",
            "starlette.applications.Starlette",
        )


def facts(module: Module) -> list[Fact]:
    """What a module says of others, in a form that another process can be sent."""
    found: list[Fact] = []
    if b"sqlalchemy.ext.asyncio" in module.source:
        found.append(("asynchronous", "", ""))
    for call in module.all(ast.Call):
        injected = module.project.depends(module, call)
        if injected and injected.provider:
            found.append(("provider", injected.provider, injected.scope or ""))
        added = getattr(call.func, "attr", "") == "add_middleware"
        if call.args and (added or module.name(call.func) == "starlette.middleware.Middleware"):
            found += [("middleware", name, "") for name in [module.name(call.args[0])] if name]
        for each in call.keywords:
            if each.arg == "lifespan" and (name := module.name(each.value)):
                found.append(("lifespan", name, ""))
    return found
