"""Read a Markdown page into a Page, and say everything that is wrong with its form."""

import re
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from rulebook.model import Block, Claim, Finding, Half, Heading, Page, Pair

LABEL = re.compile(r"\*\*(Incorrect|Correct)\*\* - (\S.*)", re.S)
LEAD = re.compile(r"\*\*(.+?)\*\*", re.S)
FENCE_LINE = re.compile(r"^\s*(?:[-*+>]\s+)*(?:```|~~~)", re.M)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# What `rulebook build` copied from a rule is proven there; everything else has to stand here.
COPIED = re.compile(r"<!-- half [^>]*:start -->.*?<!-- half:end -->", re.S)
CLAIM_SECTIONS = ("Traps", "Versions")
NO_ATTRIBUTES = "write ```python and nothing after it"


def slug(text: str) -> str:
    """Lower-case words joined by hyphens: how a heading or a bullet's lead is named in tests."""
    return "-".join(re.findall(r"[a-z0-9]+", text.lower().replace("'", "")))


def read_page(path: Path, root: Path) -> tuple[Page | None, list[Finding]]:
    """Read one page. A page that cannot be read at all is None, and a finding says why."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        return None, [Finding(path, 1, f"cannot be read: {error.strerror}", "restore the file")]
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        return None, [Finding(path, line, "is not UTF-8", "save the file as UTF-8")]
    meta, meta_lines, body_line, findings = _frontmatter(path, text)
    if meta is None:
        return None, findings
    body = "\n" * (body_line - 1) + "\n".join(text.split("\n")[body_line - 1 :])
    body = COPIED.sub(lambda match: "\n" * match[0].count("\n"), body)
    reader = _Reader(path, path.relative_to(root).as_posix(), body)
    findings += reader.findings
    page = Page(
        path=path,
        text=text,
        meta=meta,
        meta_lines=meta_lines,
        body_line=body_line,
        headings=tuple(reader.headings),
        pairs=tuple(reader.pairs),
        claims=tuple(reader.claims),
        blocks=tuple(reader.blocks),
        links=tuple(reader.links),
    )
    return page, findings


def read_rules(root: Path) -> tuple[dict[str, Page], list[Finding]]:
    """Read every rule under `root/rules`. No rule at all is a finding."""
    rules: dict[str, Page] = {}
    findings: list[Finding] = []
    for path in sorted((root / "rules").rglob("*.md")):
        page, found = read_page(path, root)
        findings += found
        if page is not None:
            rules[page.id] = page
    if not rules and not findings:
        findings.append(Finding(root / "rules", 1, "holds no rule", "run `rulebook new`"))
    return rules, findings


def _frontmatter(
    path: Path, text: str
) -> tuple[dict[str, Any] | None, dict[str, int], int, list[Finding]]:
    lines = text.split("\n")
    if lines[0] != "---" or "---" not in lines[1:]:
        hint = "begin the file with ---, the fields, and ---"
        return None, {}, 1, [Finding(path, 1, "has no frontmatter", hint)]
    end = lines.index("---", 1)
    source = "\n".join(lines[1:end])
    try:
        node = yaml.compose(source)
        meta = yaml.safe_load(source)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 2 if mark else 1
        problem = getattr(error, "problem", None) or "not YAML"
        return None, {}, 1, [Finding(path, line, f"broken YAML: {problem}", "mend the frontmatter")]
    if not isinstance(meta, dict) or not isinstance(node, yaml.MappingNode):
        return None, {}, 1, [Finding(path, 1, "frontmatter is not a mapping", "write key: value")]
    found = []
    meta_lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 2
        if key.value in meta_lines:
            found.append(Finding(path, line, f"repeats the field {key.value!r}", "keep one"))
        meta_lines[key.value] = line
    return meta, meta_lines, end + 2, found


class _Reader:
    """One pass over the Markdown tokens of a page's body."""

    def __init__(self, path: Path, page: str, body: str) -> None:
        self.path = path
        self.page = page
        self.findings: list[Finding] = []
        self.headings: list[Heading] = []
        self.pairs: list[Pair] = []
        self.claims: list[Claim] = []
        self.blocks: list[Block] = []
        self.links: list[tuple[int, str]] = []
        self._heading: Heading | None = None
        self._halves: dict[str, Half] = {}
        self._label: tuple[str, str] | None = None
        self._bullet = 0
        tokens = MarkdownIt("commonmark").parse(body)
        for token, following in zip(tokens, [*tokens[1:], None], strict=True):
            self._read(token, following)
        self._close_section()
        seen = len(FENCE_LINE.findall(body))
        fences = sum(token.type == "fence" for token in tokens)
        if seen != 2 * fences:
            self._complain(
                1,
                f"has {seen} fence lines for {fences} code blocks",
                "close every fence and keep fences out of comments",
            )

    def _complain(self, line: int, message: str, hint: str) -> None:
        self.findings.append(Finding(self.path, line, message, hint))

    def _read(self, token: Token, following: Token | None) -> None:
        line = token.map[0] + 1 if token.map else 0
        if token.type == "heading_open" and following is not None:
            heading = Heading(int(token.tag[1]), following.content, line)
            self.headings.append(heading)
            self._close_section()
            self._heading = heading
            self._label = None
        elif token.type == "list_item_open":
            self._bullet = line
        elif token.type == "inline":
            self._read_text(token, line)
        elif token.type == "fence":
            self._read_fence(token, line)
            self._label = None
        elif token.type == "code_block":
            self._complain(line, "indented code block", "use a fence, not four spaces")

    def _read_text(self, token: Token, line: int) -> None:
        for child in token.children or ():
            href = child.attrGet("href") if child.type == "link_open" else None
            if href is not None:
                self.links.append((line, str(href)))
        label = LABEL.fullmatch(token.content)
        self._label = (label[1].lower(), label[2]) if label else None
        if self._heading and self._heading.text in CLAIM_SECTIONS and self._bullet == line:
            lead = LEAD.match(token.content)
            if lead is None:
                self._complain(line, "bullet without a bold lead", "begin it with **a few words**")
                return
            self.claims.append(Claim(slug(lead[1]), line, token.content))

    def _read_fence(self, token: Token, line: int) -> None:
        block = Block(self.path, line, token.info.strip(), token.content)
        self.blocks.append(block)
        if token.level or token.markup != "```":
            self._complain(line, "fence that is indented or not ```", "move it to the margin")
        if not block.language:
            self._complain(line, "fence without a language", "name the language")
        if re.match(r"\W*py", block.language, re.I) and block.language != "python":
            self._complain(line, f"fence is tagged {block.language!r}", NO_ATTRIBUTES)
            return
        if block.language != "python":
            return
        if self._label is None or self._heading is None:
            self._complain(
                line,
                "python block without a label",
                "put **Incorrect** - ... or **Correct** - ... right above it",
            )
            return
        verdict, claim = self._label
        if verdict in self._halves:
            self._complain(line, f"second {verdict} half in this section", "one pair a section")
            return
        pair = slug(self._heading.text)
        self._halves[verdict] = Half(self.page, pair, verdict, claim, block)

    def _close_section(self) -> None:
        if self._heading is not None and self._halves:
            if set(self._halves) == {"incorrect", "correct"}:
                pair = slug(self._heading.text)
                if any(pair == other.slug for other in self.pairs):
                    self._complain(self._heading.line, f"second pair {pair!r}", "rename a heading")
                self.pairs.append(
                    Pair(
                        pair,
                        self._heading.text,
                        self._heading.line,
                        self._halves["incorrect"],
                        self._halves["correct"],
                    )
                )
            else:
                (verdict,) = self._halves
                missing = "correct" if verdict == "incorrect" else "incorrect"
                self._complain(self._heading.line, f"pair without a {missing} half", "add it")
        self._halves = {}
