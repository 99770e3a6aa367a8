"""Check the form of one page. Whatever is wrong comes back as findings, all of it at once."""

import ast
import configparser
import json
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from rulebook.model import Block, Finding, Page

LAST_SECTIONS = ["Traps", "When not to", "Versions", "Sources"]
OPTIONAL = {"Versions"}
PAIRS = (2, 5)
BLOCK_LINES = 35


@cache
def _schema() -> Draft202012Validator:
    text = files("rulebook").joinpath("schema.json").read_text(encoding="utf-8")
    return Draft202012Validator(json.loads(text))


def lint_rule(page: Page) -> Iterator[Finding]:
    """Yield what is wrong with a rule's frontmatter, sections, pairs and links."""
    yield from _frontmatter(page)
    yield from _sections(page)
    yield from lint_blocks(page)
    yield from lint_links(page)


def _frontmatter(page: Page) -> Iterator[Finding]:
    for error in _schema().iter_errors(page.meta):
        field = str(error.path[0]) if error.path else ""
        line = page.meta_lines.get(field, 1)
        where = f"{field}: " if field else ""
        yield Finding(page.path, line, f"{where}{error.message}", "see src/rulebook/schema.json")
    pairs = {pair.slug for pair in page.pairs}
    yield from _names_in(page, "lint", "pair", pairs)
    traps = {claim.slug for claim in page.claims}
    yield from _names_in(page, "linters", "pair and no trap", pairs | traps)


def _names_in(page: Page, field: str, kind: str, known: set[str]) -> Iterator[Finding]:
    value = page.meta.get(field)
    for key in set(value) - known if isinstance(value, dict) else ():
        hint = f"use one of {', '.join(sorted(known))}"
        yield Finding(page.path, page.meta_lines[field], f"{field} names no {kind}: {key}", hint)


def _sections(page: Page) -> Iterator[Finding]:
    top = [heading for heading in page.headings if heading.level == 1]
    if [heading.text for heading in top] != [page.meta.get("title")]:
        line = top[0].line if top else page.body_line
        yield Finding(page.path, line, "heading is not the title", "repeat the title as # heading")
    sections = [heading for heading in page.headings if heading.level == 2]
    pairs = {pair.line for pair in page.pairs}
    least, most = PAIRS
    if not least <= len(pairs) <= most:
        message = f"has {len(pairs)} complete pairs"
        yield Finding(page.path, page.body_line, message, f"write {least} to {most}")
    names = [heading.text for heading in sections if heading.line not in pairs]
    wanted = [name for name in LAST_SECTIONS if name in names or name not in OPTIONAL]
    if names != wanted:
        message = f"sections besides the pairs are {', '.join(names) or 'none'}"
        yield Finding(
            page.path, page.body_line, message, f"write {', '.join(wanted)}, in this order"
        )
    first_last = next((each.line for each in sections if each.text in LAST_SECTIONS), None)
    for line in sorted(pairs):
        if first_last is not None and line > first_last:
            yield Finding(page.path, line, "pair stands after Traps", "move it up")
    if not page.claims:
        yield Finding(page.path, page.body_line, "Traps holds no bullet", "name at least one")
    seen: set[str] = set()
    for claim in page.claims:
        if claim.slug in seen:
            yield Finding(page.path, claim.line, f"second {claim.slug!r}", "change its bold lead")
        seen.add(claim.slug)


def lint_blocks(page: Page) -> Iterator[Finding]:
    """Yield what is wrong with a page's code blocks and pairs."""
    for pair in page.pairs:
        try:
            trees = [ast.dump(ast.parse(half.block.code)) for half in pair.halves]
        except SyntaxError:
            continue  # said below, with its line
        if trees[0] == trees[1]:
            hint = "make them differ in what the code does"
            yield Finding(page.path, pair.line, "halves are the same program", hint)
    for block in page.blocks:
        yield from _lint_block(block)


def _lint_block(block: Block) -> Iterator[Finding]:
    lines = block.code.count("\n")
    if lines > BLOCK_LINES:
        hint = f"cut it to {BLOCK_LINES}"
        yield Finding(block.path, block.line, f"block of {lines} lines", hint)
    read = READERS.get(block.language)
    if read is None:
        known = ", ".join(sorted(READERS))
        yield Finding(block.path, block.line, f"no check for {block.language!r}", f"use {known}")
        return
    try:
        read(block.code)
    except SyntaxError as error:
        line = block.line + (error.lineno or 0)
        yield Finding(block.path, line, f"not Python: {error.msg}", "mend the code")
    except (ValueError, configparser.Error) as error:
        reason = str(error).splitlines()[0]
        yield Finding(block.path, block.line, f"not {block.language}: {reason}", "mend the code")


def _read_bash(code: str) -> None:
    done = subprocess.run(["bash", "-n"], input=code, text=True, capture_output=True)
    if done.returncode:
        raise ValueError(done.stderr.strip())


def _read_ini(code: str) -> None:
    configparser.ConfigParser().read_string(code)


READERS: dict[str, Callable[[str], Any]] = {
    "python": ast.parse,
    "toml": tomllib.loads,
    "ini": _read_ini,
    "bash": _read_bash,
}


def lint_links(page: Page) -> Iterator[Finding]:
    """Yield links that are not https and do not lead to a file."""
    for line, href in page.links:
        if href.startswith("https://"):
            continue
        if "://" in href or href.startswith(("#", "/", "mailto:")):
            yield Finding(page.path, line, f"link to {href}", "use https or a relative path")
            continue
        target = page.path.parent / href.partition("#")[0]
        if not _is_file_by_exact_name(target):
            yield Finding(page.path, line, f"link to a missing file: {href}", "mend the path")


def _is_file_by_exact_name(path: Path) -> bool:
    """Also False where only the case differs, which some file systems forgive and others do not."""
    path = path.resolve()
    return path.is_file() and path.name in {each.name for each in path.parent.iterdir()}
