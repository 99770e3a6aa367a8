"""Read from the tests what they say of the rules, without running them."""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rulebook.errors import Entry
from rulebook.model import Finding, Page

SPEAKERS = ("proves", "confirms", "produces")


@dataclass(frozen=True)
class Evidence:
    """One decorator in a test: `proves` a pair, `confirms` a claim, or `produces` an error text."""

    kind: str
    page: str
    key: str
    path: Path
    line: int
    test: str
    says: str  # the first paragraph of its docstring


def read_evidence(root: Path) -> tuple[list[Evidence], list[Finding]]:
    """Collect the evidence in `root/tests/test_*.py` and below its `rules` and `errors`."""
    folder = root / "tests"
    evidence: list[Evidence] = []
    findings: list[Finding] = []
    patterns = ("test_*.py", "rules/*/test_*.py", "errors/*/test_*.py")
    for path in [path for pattern in patterns for path in sorted(folder.glob(pattern))]:
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError) as error:
            findings.append(Finding(path, 1, f"not Python: {error}", "mend the test"))
            continue
        names = _constants(tree)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for item in _of_function(path, node, names):
                    (evidence if isinstance(item, Evidence) else findings).append(item)  # type: ignore[arg-type]
    return evidence, findings


def _of_function(
    path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef, names: dict[str, str]
) -> Iterator[Evidence | Finding]:
    says = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
    for call in node.decorator_list:
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            continue
        kind = call.func.id
        if kind not in SPEAKERS:
            continue
        words = [_word(each, names) for each in call.args]
        if None in words or len(words) < 2:
            hint = "write the page and what it is about as strings or module constants"
            yield Finding(path, call.lineno, f"{kind} without its names", hint)
            continue
        page, *keys = map(str, words)
        if path.parents[1].name == "errors":
            page = f"errors/{page}"
        for key in keys:
            yield Evidence(kind, page, key, path, call.lineno, node.name, says)
        if ast.get_docstring(node) is None:
            yield Finding(path, node.lineno, f"{node.name} has no docstring", "say what it shows")
        if kind == "confirms" and not _can_fail(node):
            yield Finding(path, node.lineno, f"{node.name} asserts nothing", "let it fail")
        if kind == "produces" and any(_spells(node, key) for key in keys):
            hint = "return what the library wrote"
            yield Finding(path, node.lineno, f"{node.name} spells the symptom itself", hint)


def _constants(tree: ast.Module) -> dict[str, str]:
    return {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def _word(node: ast.expr, names: dict[str, str]) -> str | None:
    if isinstance(node, ast.Constant):
        return str(node.value)
    return names.get(node.id) if isinstance(node, ast.Name) else None


def _can_fail(node: ast.AST) -> bool:
    return any(
        isinstance(each, ast.Assert)
        or (isinstance(each, ast.Attribute) and each.attr == "raises")
        or (isinstance(each, ast.Name) and each.id.startswith("assert"))
        for each in ast.walk(node)
    )


def _spells(node: ast.FunctionDef | ast.AsyncFunctionDef, text: str) -> bool:
    return any(
        isinstance(each, ast.Constant) and isinstance(each.value, str) and text in each.value
        for statement in node.body
        for each in ast.walk(statement)
    )


def match(
    pages: dict[str, Page], entries: list[Entry], evidence: list[Evidence]
) -> Iterator[Finding]:
    """Yield what is said without evidence, and evidence of what nobody said."""
    known = {
        "proves": {
            (page.id, pair.slug): (page.path, pair.line)
            for page in pages.values()
            for pair in page.pairs
        },
        "confirms": {
            (page.id, claim.slug): (page.path, claim.line)
            for page in pages.values()
            for claim in page.claims
        },
        "produces": {
            (f"errors/{entry.category}", entry.fragment): (entry.path, entry.line)
            for entry in entries
        },
    }
    missing = {
        "proves": "pair {!r} has no proof",
        "confirms": "claim {!r} has no test",
        "produces": "error text {!r} is produced by no test",
    }
    said = Counter((each.kind, each.page, each.key) for each in evidence)
    for kind, things in known.items():
        for (page, key), (path, line) in things.items():
            if (kind, page, key) not in said:
                hint = f'write a test with @{kind}("{page.removeprefix("errors/")}", "{key}")'
                yield Finding(path, line, missing[kind].format(key), hint)
    for each in evidence:
        if (each.page, each.key) not in known[each.kind]:
            message = f"{each.kind} what does not exist: {each.page} {each.key!r}"
            yield Finding(each.path, each.line, message, "mend the name, or drop the test")
        elif each.kind != "confirms" and said[each.kind, each.page, each.key] > 1:
            message = f"a second test {each.kind} {each.page} {each.key!r}"
            yield Finding(each.path, each.line, message, "keep the better one")
