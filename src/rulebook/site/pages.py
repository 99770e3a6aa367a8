"""The pages written by hand, with what `<!-- insert NAME ARGS -->` asks for in its place."""

import re
import shutil
from collections.abc import Callable
from html import escape
from pathlib import Path

import yaml

from rulebook.model import Half, Pair
from rulebook.parse import slug
from rulebook.render import numbers, rule_table, tools
from rulebook.site.book import Book, SiteError
from rulebook.site.code import code
from rulebook.site.costs import table
from rulebook.site.document import Document, absolute, relinked
from rulebook.site.fences import with_code
from rulebook.site.links import href
from rulebook.site.pairs import half_html, pair_html
from rulebook.site.rules import impact_html

INSERT = re.compile(r"(?m)^<!-- insert (\w+)((?: \S+)*) -->$")
HEADING = re.compile(r"(?m)^(#{1,4}) (.+?)(?: \{ ?#\S+ ?\})?$|(^```.*?^```$)", re.S)
TAG = re.compile(r"(?sm)(^```.*?^```$|`+[^`]+`+)|</?(?:div|p|nav|span)\b[^>]*>|\{ \.[^}]+ \}")
GAP = re.compile(r"(?sm)(^```.*?^```$)|\n{3,}")
FIRST = re.compile(r"(?m)^(?![#<!\[`|-])(\S.+(?:\n(?!\n).+)*)")
LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".sql": "sql", ".md": "markdown"}


def written_documents(book: Book, docs: Path) -> list[Document]:
    """Every page that a person wrote; pictures they show are copied into `docs`."""
    found = []
    for source, path in book.pages.items():
        if not path.startswith(("rules/", "errors/")):
            found.append(_document(book, source, path, docs))
    return found


def rules_document(book: Book) -> Document:
    """The list of rules, by category."""
    parts, plain = [], []
    for category in book.categories:
        mine = [rule for rule in book.rules.values() if rule.category == category]
        rows = []
        for rule in mine:
            rows.append(
                f"<li><a {href(f'rules/{rule.id}.md')}>{escape(rule.meta['title'])}</a>"
                f"<p>{impact_html(rule)}</p>"
                f"<p>Read it when {escape(rule.meta['when'])}.</p></li>"
            )
        parts.append(f'## {category} {{ #{category} }}\n\n<ul class="cards">{"".join(rows)}</ul>')
        plain += [
            absolute(book, f"- [{rule.meta['title']}](rules/{rule.id}.md): {rule.meta['when']}", "")
            for rule in mine
        ]
    said = (
        f"{len(book.rules)} rules: what async Python backends get wrong, and the code that holds."
    )
    return Document(
        path="rules/index.md",
        title="Rules",
        description=said,
        text="# Rules { #rules }\n\n" + "\n\n".join(parts),
        plain=f"# Rules\n\n{said}\n\n" + "\n".join(plain) + "\n",
        meta={"kind": "index"},
    )


def _document(book: Book, source: str, path: str, docs: Path) -> Document:
    whole = (book.root / source).read_text(encoding="utf-8")
    fields, lines, text = _front(whole)
    title = re.search(r"(?m)^# (.+)$", text)
    if title is None:
        raise SiteError(f"{source}:1: has no title; begin it with `# Title`")
    first = FIRST.search(text[title.end() :])
    description = fields.get("description") or _words(first[1] if first else title[1])
    indented = re.search(r"(?m)^[ \t>]+```", text)
    if indented:
        line = lines + text.count("\n", 0, indented.start()) + 1
        raise SiteError(f"{source}:{line}: has an indented fence; move it to the margin")
    text = "\n" * lines + text  # so that a fault is named with its line
    linked = relinked(book, text, source, path)
    filled = _filled(book, linked, source, path, docs, html=True)
    plain = _filled(book, text, source, path, docs, html=False)
    return Document(
        path=path,
        title=title[1],
        description=book.addressed(description),
        text=with_code(book, HEADING.sub(_anchored, book.addressed(filled))),
        plain=book.addressed(_untagged(absolute(book, plain, source))),
        meta={"kind": "home" if path == "index.md" else "text"},
    )


def _front(text: str) -> tuple[dict[str, str], int, str]:
    """The fields above a page, how many lines they take, and the text below them."""
    if not text.startswith("---\n"):
        return {}, 0, text
    head, _, body = text.removeprefix("---\n").partition("\n---\n")
    return yaml.safe_load(head), head.count("\n") + 3, body


def _untagged(text: str) -> str:
    """Markdown without the tags and attributes that only the HTML needs."""
    return GAP.sub(lambda match: match[1] or "\n\n", TAG.sub(lambda match: match[1] or "", text))


def _anchored(match: re.Match[str]) -> str:
    if match[3] or "{" in match[0]:
        return match[0]
    return f"{match[1]} {match[2].strip()} {{ #{slug(match[2])} }}"


def _words(text: str) -> str:
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)
    words = " ".join(re.sub(r"[`*]", "", text).split())
    if len(words) <= 160:
        return words
    sentence = words[:160].rpartition(". ")[0]
    return f"{sentence}." if sentence else words[:157].rpartition(" ")[0] + "..."


def _filled(book: Book, text: str, source: str, path: str, docs: Path, *, html: bool) -> str:
    inserts = _Inserts(book, path, docs, html)

    def fill(match: re.Match[str]) -> str:
        line = text.count("\n", 0, match.start()) + 1
        make: Callable[..., str] | None = getattr(inserts, f"insert_{match[1]}", None)
        if make is None:
            raise SiteError(f"{source}:{line}: no insert is called {match[1]}; mend the name")
        try:
            return make(*match[2].split())
        except (TypeError, LookupError, OSError) as error:
            what = f"{match[1]}{match[2]}"
            raise SiteError(f"{source}:{line}: cannot insert {what}: {error}") from error

    return INSERT.sub(fill, text)


class _Inserts:
    """What a hand-written page may ask for, as HTML or as plain Markdown."""

    def __init__(self, book: Book, path: str, docs: Path, html: bool) -> None:
        self.book, self.path, self.docs, self.html = book, path, docs, html

    def insert_rules(self) -> str:
        text = rule_table(self.book.rules)
        return relinked(self.book, text, "README.md", self.path) if self.html else text

    def insert_numbers(self) -> str:
        return f"{numbers(self.book.rules, self.book.entries)}\n{tools(self.book.root)}"

    def insert_costs(self) -> str:
        return table(self.book.root)

    def insert_pair(self, rule: str, name: str) -> str:
        pair = self._pair(rule, name)
        if self.html:
            text = pair_html(self.book, pair)
            return relinked(self.book, text, f"rules/{rule}.md", self.path)
        return "\n\n".join(_plain(half) for half in pair.halves)

    def insert_half(self, rule: str, name: str, verdict: str) -> str:
        halves = {half.verdict: half for half in self._pair(rule, name).halves}
        if verdict not in halves:
            raise LookupError(f"a half is incorrect or correct, not {verdict}")
        return half_html(halves[verdict]) if self.html else _plain(halves[verdict])

    def insert_file(self, path: str) -> str:
        text = (self.book.root / path).read_text(encoding="utf-8")
        language = LANGUAGES.get(Path(path).suffix, "text")
        if not self.html:
            return f"`{path}`\n\n```{language}\n{text}```"
        link = f'<a href="{self.book.source(path)}"><code>{path}</code></a>'
        return (
            f'<figure class="file"><figcaption>{link}</figcaption>{code(text, language)}</figure>'
        )

    def insert_section(self, path: str, name: str) -> str:
        """What stands under a heading of another file, so that it is written once."""
        parts = re.split(r"(?m)^## (.+)\n", (self.book.root / path).read_text("utf-8"))
        sections = {slug(head): body for head, body in zip(parts[1::2], parts[2::2], strict=True)}
        text = sections[name].strip()
        return relinked(self.book, text, path, self.path) if self.html else text

    def insert_picture(self, path: str) -> str:
        file = self.book.root / path
        target = self.docs / "pictures" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        named = re.search(r"<title[^>]*>(.*?)</title>", file.read_text("utf-8"))
        words = named[1] if named else file.stem
        if not self.html:
            return f"![{words}]({self.book.url}pictures/{file.name})"
        return f"![{words}](pictures/{file.name})"

    def _pair(self, rule: str, name: str) -> Pair:
        for pair in self.book.rules[rule].pairs if rule in self.book.rules else ():
            if pair.slug == name:
                return pair
        raise LookupError(f"there is no pair {rule} {name}")


def _plain(half: Half) -> str:
    return f"**{half.verdict.capitalize()}** - {half.claim}\n\n```python\n{half.block.code}```"
